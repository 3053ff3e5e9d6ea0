#include "mledge/aggregation/secagg/internal/share_decoder.h"

#include <algorithm>
#include <utility>

namespace mledge::secagg::secagg_internal {
namespace {

// Coefficients from the constant upwards, without zeros at the top; the zero
// polynomial is empty.
using Polynomial = std::vector<Field128>;

void Trim(Polynomial& polynomial) {
  while (!polynomial.empty() && polynomial.back() == Field128{}) {
    polynomial.pop_back();
  }
}

Field128 Evaluate(const Polynomial& polynomial, uint32_t point) {
  Field128 value;
  for (size_t i = polynomial.size(); i > 0; --i) {
    value = MultiplyBySmall(value, point) ^ polynomial[i - 1];
  }
  return value;
}

// a −= b · c.
void SubtractProduct(Polynomial& a, const Polynomial& b, const Polynomial& c) {
  if (b.empty() || c.empty()) return;
  a.resize(std::max(a.size(), b.size() + c.size() - 1));
  for (size_t i = 0; i < b.size(); ++i) {
    for (size_t j = 0; j < c.size(); ++j) a[i + j] ^= Multiply(b[i], c[j]);
  }
  Trim(a);
}

// The quotient; the remainder stays in `a`. Precondition: b is not zero.
Polynomial Divide(Polynomial& a, const Polynomial& b) {
  Polynomial quotient;
  if (a.size() < b.size()) return quotient;
  quotient.resize(a.size() - b.size() + 1);
  const Field128 leading = Invert(b.back());
  for (size_t top = a.size(); top >= b.size(); --top) {
    const size_t shift = top - b.size();
    const Field128 factor = Multiply(a[top - 1], leading);
    quotient[shift] = factor;
    for (size_t i = 0; i < b.size(); ++i) {
      a[shift + i] ^= Multiply(factor, b[i]);
    }
  }
  Trim(a);
  return quotient;
}

// Π (X − x_i).
Polynomial Vanishing(std::span<const uint32_t> points) {
  Polynomial product = {Field128{1, 0}};
  for (const uint32_t point : points) {
    product.push_back(product.back());
    for (size_t i = product.size() - 2; i > 0; --i) {
      product[i] = product[i - 1] ^ MultiplyBySmall(product[i], point);
    }
    product[0] = MultiplyBySmall(product[0], point);
  }
  return product;
}

// The polynomial of degree below points.size() that takes the values.
Polynomial Interpolate(std::span<const uint32_t> points,
                       std::span<const Field128> values,
                       const Polynomial& vanishing) {
  const size_t size = points.size();
  std::vector<Field128> factors(size, Field128{1, 0});
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j < size; ++j) {
      if (i != j) {
        factors[i] = MultiplyBySmall(factors[i], points[i] ^ points[j]);
      }
    }
  }
  InvertAll(factors);
  Polynomial result(size);
  for (size_t i = 0; i < size; ++i) {
    const Field128 factor = Multiply(factors[i], values[i]);
    // Synthetic division of the vanishing polynomial by X − x_i.
    Field128 coefficient;
    for (size_t j = size; j > 0; --j) {
      coefficient = MultiplyBySmall(coefficient, points[i]) ^ vanishing[j];
      result[j - 1] ^= Multiply(coefficient, factor);
    }
  }
  Trim(result);
  return result;
}

}  // namespace

std::array<Field128, 2> LimbsOf(std::span<const uint8_t, 32> bytes) {
  return {Field128::FromBytes(bytes.first<16>()),
          Field128::FromBytes(bytes.last<16>())};
}

std::vector<uint32_t> PointsOf(std::span<const ShareIndex> holders) {
  std::vector<uint32_t> points;
  points.reserve(holders.size());
  for (const ShareIndex holder : holders) points.push_back(holder.point());
  return points;
}

void InvertAll(std::span<Field128> elements) {
  std::vector<Field128> products;
  products.reserve(elements.size());
  Field128 product{1, 0};
  for (const Field128 element : elements) {
    products.push_back(product);
    product = Multiply(product, element);
  }
  Field128 inverse = Invert(product);
  for (size_t i = elements.size(); i > 0; --i) {
    const Field128 element = elements[i - 1];
    elements[i - 1] = Multiply(inverse, products[i - 1]);
    inverse = Multiply(inverse, element);
  }
}

std::optional<Field128> DecodeConstant(std::span<const uint32_t> points,
                                       std::span<const Field128> values,
                                       size_t threshold,
                                       std::vector<bool>& is_wrong) {
  // Euclid's algorithm on (vanishing, interpolated), stopped half way; then
  // remainder = cofactor · message, where the cofactor's zeros are the errors.
  Polynomial previous = Vanishing(points);
  Polynomial remainder = Interpolate(points, values, previous);
  Polynomial previous_cofactor;
  Polynomial cofactor = {Field128{1, 0}};
  // Stop at degree < (points + threshold) / 2.
  while (2 * remainder.size() >= points.size() + threshold + 2) {
    const Polynomial quotient = Divide(previous, remainder);
    SubtractProduct(previous_cofactor, quotient, cofactor);
    std::swap(previous, remainder);
    std::swap(previous_cofactor, cofactor);
  }
  const Polynomial message = Divide(remainder, cofactor);
  if (!remainder.empty() || message.size() > threshold) return std::nullopt;
  size_t wrong = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    if (Evaluate(message, points[i]) == values[i]) continue;
    is_wrong[i] = true;
    ++wrong;
  }
  if (2 * wrong > points.size() - threshold) return std::nullopt;
  return message.empty() ? Field128{} : message[0];
}

}  // namespace mledge::secagg::secagg_internal
