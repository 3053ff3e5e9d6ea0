#include "mledge/client/memory_store.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "mledge/core/parameters.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

// Rows of `width` values; INVALID_ARGUMENT when the count is not a multiple.
template <typename T>
absl::StatusOr<int64_t> RowsOf(const char* what, const std::vector<T>& values,
                               int64_t width) {
  const int64_t count = static_cast<int64_t>(values.size());
  if (width <= 0 || count % width != 0) {
    return absl::InvalidArgumentError(StrCat(
        what, ": ", count, " values are no whole number of rows of ", width));
  }
  return count / width;
}

absl::Status CheckFinite(const char* what, const std::vector<float>& values,
                         int64_t width) {
  const std::optional<size_t> bad = FindNonFinite(values);
  if (!bad.has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(what, " of example ", *bad / width, ", value ", *bad % width,
             " is ", std::isnan(values[*bad]) ? "NaN" : "infinite",
             "; leave the example out or replace the value"));
}

template <typename T>
void CopyRows(const std::vector<T>& from, int64_t width,
              std::span<const int64_t> positions, std::vector<T>* to) {
  to->resize(positions.size() * width);
  T* out = to->data();
  for (const int64_t position : positions) {
    out = std::copy_n(from.data() + position * width, width, out);
  }
}

}  // namespace

absl::Status PositionOutOfRange(int64_t position, int64_t size) {
  return absl::OutOfRangeError(StrCat("example ", position,
                                      " was asked for, but there are only ",
                                      size, " (numbered from 0)"));
}

absl::StatusOr<std::unique_ptr<MemoryStore>> MemoryStore::Create(
    Contents contents) {
  const bool floats = contents.input.kind == TensorSpec::Kind::kFloat;
  const int64_t width = contents.input.element_count();
  absl::StatusOr<int64_t> rows =
      floats ? RowsOf("inputs", contents.inputs, width)
             : RowsOf("index inputs", contents.index_inputs, width);
  if (!rows.ok()) return rows.status();
  if (!(floats ? contents.index_inputs.empty() : contents.inputs.empty())) {
    return absl::InvalidArgumentError(
        "inputs of both kinds were given; the input's kind says which counts");
  }
  if (absl::Status s = CheckFinite("input", contents.inputs, width); !s.ok()) {
    return s;
  }
  for (size_t i = 0; i < contents.index_inputs.size(); ++i) {
    if (contents.index_inputs[i] < 0) {
      return absl::InvalidArgumentError(StrCat("input of example ", i / width,
                                               " holds the negative index ",
                                               contents.index_inputs[i]));
    }
  }

  const int64_t labels = static_cast<int64_t>(contents.class_labels.size());
  if (contents.classes < 0 || (contents.classes == 0 && labels > 0)) {
    return absl::InvalidArgumentError(
        "class labels need the number of classes");
  }
  if (contents.classes > 0 && labels != *rows) {
    return absl::InvalidArgumentError(
        StrCat(*rows, " examples, but ", labels, " class labels"));
  }
  for (int64_t i = 0; i < labels; ++i) {
    if (contents.class_labels[i] < 0 ||
        contents.class_labels[i] >= contents.classes) {
      return absl::InvalidArgumentError(
          StrCat("label ", contents.class_labels[i], " of example ", i,
                 " is outside 0 ... ", contents.classes - 1));
    }
  }
  if (contents.classes == 0 || !contents.label_values.empty()) {
    absl::StatusOr<int64_t> label_rows =
        RowsOf("labels", contents.label_values, contents.label_width);
    if (!label_rows.ok()) return label_rows.status();
    if (*label_rows != *rows) {
      return absl::InvalidArgumentError(
          StrCat(*rows, " examples, but ", *label_rows, " label rows"));
    }
    if (absl::Status s =
            CheckFinite("label", contents.label_values, contents.label_width);
        !s.ok()) {
      return s;
    }
  }
  return std::unique_ptr<MemoryStore>(
      new MemoryStore(std::move(contents), *rows));
}

MemoryStore::MemoryStore(Contents contents, int64_t size)
    : contents_(std::move(contents)), size_(size) {}

absl::Status MemoryStore::Read(std::span<const int64_t> positions,
                               ExampleBatch* batch) const {
  for (const int64_t position : positions) {
    if (position < 0 || position >= size_) {
      return PositionOutOfRange(position, size_);
    }
  }
  batch->size = static_cast<int64_t>(positions.size());
  const int64_t width = contents_.input.element_count();
  if (contents_.input.kind == TensorSpec::Kind::kFloat) {
    CopyRows(contents_.inputs, width, positions, &batch->inputs);
    batch->index_inputs.clear();
  } else {
    CopyRows(contents_.index_inputs, width, positions, &batch->index_inputs);
    batch->inputs.clear();
  }
  batch->class_labels.clear();
  batch->label_values.clear();
  if (contents_.classes > 0) {
    CopyRows(contents_.class_labels, 1, positions, &batch->class_labels);
  }
  if (!contents_.label_values.empty()) {
    CopyRows(contents_.label_values, contents_.label_width, positions,
             &batch->label_values);
  }
  return absl::OkStatus();
}

}  // namespace mledge
