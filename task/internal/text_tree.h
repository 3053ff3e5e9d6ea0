#ifndef MLEDGE_TASK_INTERNAL_TEXT_TREE_H_
#define MLEDGE_TASK_INTERNAL_TEXT_TREE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

// A YAML or JSON text as a tree with positions, and nothing else: what is not a
// tree (anchors, aliases) and what is not text (tags, several documents) is
// refused here. The only file that sees yaml-cpp is text_tree.cc.

namespace mledge::task_internal {

struct TextField;

struct TextNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  std::string scalar;
  // Quoted or a block of text: never a number, a truth value or nothing.
  bool quoted = false;
  int line = 1;  // both count from 1
  int column = 1;
  std::vector<TextNode> items;
  std::vector<TextField> fields;
};

struct TextField {
  TextNode key;  // a scalar
  TextNode value;
};

// INVALID_ARGUMENT "FILE:LINE:COLUMN: …": not YAML, not UTF-8, larger or deeper
// than strict_message.h allows, or one of what is refused above.
absl::StatusOr<TextNode> ParseTextTree(std::string_view text,
                                       std::string_view file_name);

}  // namespace mledge::task_internal

#endif  // MLEDGE_TASK_INTERNAL_TEXT_TREE_H_
