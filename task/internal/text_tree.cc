#include "mledge/task/internal/text_tree.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mledge/core/strings.h"
#include "mledge/task/strict_message.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace mledge::task_internal {
namespace {

// Leaves yaml-cpp's parser from inside an event; caught in ParseTextTree.
struct Refusal {
  YAML::Mark mark;
  std::string message;
};

class TreeBuilder final : public YAML::EventHandler {
 public:
  TextNode TakeRoot() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    Add(Node(mark, TextNode::Kind::kNull), mark);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refusal{mark, "an alias (*name); write the value out"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t anchor, const std::string& value) override {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    TextNode node = Node(mark, TextNode::Kind::kScalar);
    node.scalar = value;
    node.quoted = tag == "!";
    Add(std::move(node), mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, TextNode::Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag,
                  YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, TextNode::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct OpenNode {
    TextNode node;
    YAML::Mark mark;
    bool has_key = false;  // a map's key waits for its value
    TextNode key;
  };

  static TextNode Node(const YAML::Mark& mark, TextNode::Kind kind) {
    TextNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }

  static void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) {
      throw Refusal{mark, "an anchor (&name); write the value out"};
    }
  }

  // "?" and "!" are yaml-cpp's words for plain and quoted.
  static void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Refusal{mark, StrCat("a tag (", tag, "); leave it out")};
    }
  }

  void Open(const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor, TextNode::Kind kind) {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    if (stack_.size() >= kMaximumTextDepth) {
      throw Refusal{
          mark, StrCat("nested deeper than ", kMaximumTextDepth, " levels")};
    }
    stack_.push_back({.node = Node(mark, kind), .mark = mark});
  }

  void Close() {
    OpenNode closed = std::move(stack_.back());
    stack_.pop_back();
    Add(std::move(closed.node), closed.mark);
  }

  void Add(TextNode node, const YAML::Mark& mark) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    OpenNode& parent = stack_.back();
    if (parent.node.kind == TextNode::Kind::kList) {
      parent.node.items.push_back(std::move(node));
    } else if (parent.has_key) {
      parent.node.fields.push_back({std::move(parent.key), std::move(node)});
      parent.has_key = false;
    } else if (node.kind == TextNode::Kind::kScalar) {
      parent.key = std::move(node);
      parent.has_key = true;
    } else {
      throw Refusal{mark, "expected the name of a field before ':'"};
    }
  }

  std::vector<OpenNode> stack_;
  TextNode root_;
};

// Length of the well-formed UTF-8 sequence at `position` (RFC 3629), 0 if there
// is none.
size_t Utf8SequenceLength(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) {
    return position + i < text.size() ? static_cast<uint8_t>(text[position + i])
                                      : uint8_t{0};
  };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (!continues(1) || !continues(2)) return 0;
    if (first == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
    if (first == 0xED && byte(1) > 0x9F) return 0;  // surrogate
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (first == 0xF0 && byte(1) < 0x90) return 0;  // overlong
    if (first == 0xF4 && byte(1) > 0x8F) return 0;  // past U+10FFFF
    return 4;
  }
  return 0;
}

absl::Status CheckText(std::string_view text, std::string_view file_name) {
  if (text.size() > kMaximumTextSizeInBytes) {
    return absl::InvalidArgumentError(
        StrCat(file_name, ": ", text.size(), " bytes; at most ",
               kMaximumTextSizeInBytes, " are read"));
  }
  int line = 1;
  int column = 1;
  for (size_t i = 0; i < text.size();) {
    const size_t length = text[i] == '\0' ? 0 : Utf8SequenceLength(text, i);
    if (length == 0) {
      return absl::InvalidArgumentError(
          StrCat(file_name, ":", line, ":", column,
                 ": a byte that is no UTF-8 text; save the file as "
                 "UTF-8"));
    }
    ++column;
    if (text[i] == '\n') {
      ++line;
      column = 1;
    }
    i += length;
  }
  return absl::OkStatus();
}

absl::Status ErrorAt(std::string_view file_name, const YAML::Mark& mark,
                     std::string_view message) {
  if (mark.is_null()) {
    return absl::InvalidArgumentError(StrCat(file_name, ": ", message));
  }
  return absl::InvalidArgumentError(StrCat(file_name, ":", mark.line + 1, ":",
                                           mark.column + 1, ": ", message));
}

}  // namespace

absl::StatusOr<TextNode> ParseTextTree(std::string_view text,
                                       std::string_view file_name) {
  if (absl::Status status = CheckText(text, file_name); !status.ok()) {
    return status;
  }
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder;
    if (!parser.HandleNextDocument(builder)) return TextNode();
    TextNode root = builder.TakeRoot();
    TreeBuilder second;
    if (parser.HandleNextDocument(second)) {
      return absl::InvalidArgumentError(
          StrCat(file_name,
                 ": a second document (after '---'); one file is one "
                 "document"));
    }
    return root;
  } catch (const Refusal& refusal) {
    return ErrorAt(file_name, refusal.mark, refusal.message);
  } catch (const YAML::Exception& error) {
    return ErrorAt(file_name, error.mark, StrCat("not YAML: ", error.msg));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        StrCat(file_name, ": not YAML: ", error.what()));
  }
}

}  // namespace mledge::task_internal
