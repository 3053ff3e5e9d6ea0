#ifndef MLEDGE_CLIENT_SUBSET_STORE_H_
#define MLEDGE_CLIENT_SUBSET_STORE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/example_store.h"

// A device's share of a larger set of examples, and the index files in which
// shares are written down: one decimal number a line, in any order, `#` starts
// a comment. Const access from several threads is safe.

namespace mledge {

class SubsetStore final : public ExampleStore {
 public:
  // INVALID_ARGUMENT: a position outside the store, or twice.
  static absl::StatusOr<std::unique_ptr<SubsetStore>> Create(
      std::shared_ptr<const ExampleStore> store,
      std::vector<int64_t> positions);
  // Without the checks, for positions that come from a checked partition.
  SubsetStore(std::shared_ptr<const ExampleStore> store,
              std::vector<int64_t> positions);

  int64_t size() const override {
    return static_cast<int64_t>(positions_.size());
  }
  const TensorSpec& input() const override { return store_->input(); }
  int64_t classes() const override { return store_->classes(); }
  int64_t label_width() const override { return store_->label_width(); }
  absl::Status Read(std::span<const int64_t> positions,
                    ExampleBatch* batch) const override;

 private:
  std::shared_ptr<const ExampleStore> store_;
  std::vector<int64_t> positions_;
};

// The numbers of an index file's text. INVALID_ARGUMENT names `name` and the
// line: not a number, outside 0 … example_count−1, twice.
absl::StatusOr<std::vector<int64_t>> ParseIndexFile(std::string_view name,
                                                    std::string_view text,
                                                    int64_t example_count);
absl::StatusOr<std::vector<int64_t>> ReadIndexFile(const std::string& path,
                                                   int64_t example_count);

// The text of an index file; `comment` may be empty and becomes its first
// line.
std::string FormatIndexFile(std::span<const int64_t> positions,
                            std::string_view comment);

}  // namespace mledge

#endif  // MLEDGE_CLIENT_SUBSET_STORE_H_
