#ifndef MLEDGE_TESTS_PRIVACY_ACCOUNTING_REFERENCE_VALUES_H_
#define MLEDGE_TESTS_PRIVACY_ACCOUNTING_REFERENCE_VALUES_H_

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "mledge/privacy/accounting/privacy_event.h"

namespace mledge {

// A line of reference_values.csv; make_reference_values.py says what it means.
struct ReferenceValue {
  double sampling_probability = 0;
  double noise_multiplier = 0;
  int64_t steps = 0;
  double delta = 0;
  double rdp_epsilon = 0;
  std::optional<double> pld_epsilon;
  std::optional<double> pld_optimistic;
  std::optional<double> pld_pessimistic;

  PrivacyEvent Event() const {
    return Repeated(
        {PoissonSampledGaussianEvent{sampling_probability, noise_multiplier}},
        steps);
  }
  std::string Name() const {
    std::ostringstream name;
    name << "q " << sampling_probability << ", z " << noise_multiplier << ", "
         << steps << " steps, delta " << delta;
    return name.str();
  }
};

inline std::vector<ReferenceValue> ReferenceValues() {
  std::ifstream file(std::string(std::getenv("MLEDGE_SOURCE_DIR")) +
                     "/tests/privacy/accounting/reference_values.csv");
  std::vector<ReferenceValue> values;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() || (line[0] < '0' || line[0] > '9')) continue;
    std::vector<std::string> cells;
    std::istringstream cells_of(line);
    for (std::string cell; std::getline(cells_of, cell, ',');) {
      cells.push_back(cell);
    }
    cells.resize(9);
    const auto number = [&](size_t i) { return std::stod(cells[i]); };
    const auto maybe = [&](size_t i) {
      return cells[i].empty() ? std::optional<double>() : number(i);
    };
    values.push_back({.sampling_probability = number(0),
                      .noise_multiplier = number(1),
                      .steps = std::stoll(cells[2]),
                      .delta = number(3),
                      .rdp_epsilon = number(4),
                      .pld_epsilon = maybe(6),
                      .pld_optimistic = maybe(7),
                      .pld_pessimistic = maybe(8)});
  }
  return values;
}

// dp_accounting's DEFAULT_RDP_ORDERS.
inline std::vector<double> DpAccountingOrders() {
  std::vector<double> orders;
  for (int x = 1; x < 100; ++x) orders.push_back(1 + x / 10.0);
  for (int x = 11; x < 64; ++x) orders.push_back(x);
  for (double x : {128, 256, 512, 1024}) orders.push_back(x);
  return orders;
}

// The published run of DP-FedAvg (McMahan et al., ICLR 2018): 763,430 users,
// 5000 expected a round, 5000 rounds, noise multiplier 1.
inline PrivacyEvent DpFedAvgRun() {
  return Repeated({PoissonSampledGaussianEvent{5000.0 / 763430, 1}}, 5000);
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_PRIVACY_ACCOUNTING_REFERENCE_VALUES_H_
