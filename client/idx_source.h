#ifndef MLEDGE_CLIENT_IDX_SOURCE_H_
#define MLEDGE_CLIENT_IDX_SOURCE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/client/example_store.h"

// Images and labels in Yann LeCun's IDX format (MNIST and its relatives), plain
// or gzipped. Pixels stay bytes in memory and become floats when they are read,
// so that a data set takes a quarter of the room. Const access from several
// threads is safe.

namespace mledge {

// An IDX file of unsigned bytes: the magic number 0x000008NN with NN
// dimensions, their sizes as 32-bit big-endian numbers, the values row by row.
struct IdxArray {
  std::vector<int64_t> shape;
  std::string bytes;  // of the whole file, header first
  size_t values_offset = 0;

  std::string_view values() const {
    return std::string_view(bytes).substr(values_offset);
  }
};

// `bytes` are unpacked already; `name` is for messages. INVALID_ARGUMENT: not
// an IDX file, another element type, no or more than eight dimensions, a
// dimension of zero or too large, bytes after the end. DATA_LOSS: ends too
// early. Messages name the offset (in the unpacked file), what stands there,
// what was expected and what to do.
absl::StatusOr<IdxArray> ParseIdx(std::string_view name, std::string bytes);

class IdxStore final : public ExampleStore {
 public:
  struct Options {
    // A pixel p becomes (p/255 − mean) / standard_deviation; the latter is > 0.
    float mean = 0;
    float standard_deviation = 1;
    // Labels must be below; 0: one more than the largest label there is.
    int64_t classes = 0;
    // Of the two files, for messages.
    std::string images_name = "images";
    std::string labels_name = "labels";
  };

  // INVALID_ARGUMENT: images of fewer than two dimensions, labels of more than
  // one, counts that differ, a label out of range, a bad option.
  static absl::StatusOr<std::unique_ptr<IdxStore>> Create(IdxArray images,
                                                          IdxArray labels,
                                                          Options options);
  // Reads both files; also the codes of ReadFile and UnpackIfGzip.
  static absl::StatusOr<std::unique_ptr<IdxStore>> Open(
      const std::string& images_path, const std::string& labels_path,
      Options options);

  int64_t size() const override { return images_.shape[0]; }
  const TensorSpec& input() const override { return input_; }
  int64_t classes() const override { return classes_; }
  int64_t label_width() const override { return 1; }
  absl::Status Read(std::span<const int64_t> positions,
                    ExampleBatch* batch) const override;

 private:
  IdxStore(IdxArray images, IdxArray labels, int64_t classes,
           const Options& options);

  IdxArray images_;
  IdxArray labels_;
  int64_t classes_;
  TensorSpec input_;
  int64_t pixels_;  // of one image
  std::array<float, 256> value_of_byte_;
};

}  // namespace mledge

#endif  // MLEDGE_CLIENT_IDX_SOURCE_H_
