#ifndef MLEDGE_TESTS_SUPPORT_PROTO_MATCHERS_H_
#define MLEDGE_TESTS_SUPPORT_PROTO_MATCHERS_H_

#include <gmock/gmock.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>

#include <memory>
#include <ostream>
#include <string>
#include <utility>

// EqualsProto(message) and EqualsProto("text format"): every field is equal;
// on failure the differing fields are listed. For tests that link Protobuf; not
// where LibTorch is included.

namespace mledge::testing_support {

class EqualsProtoMatcher {
 public:
  using is_gtest_matcher = void;

  explicit EqualsProtoMatcher(const google::protobuf::Message& expected)
      : expected_(expected.New()), text_(expected.ShortDebugString()) {
    expected_->CopyFrom(expected);
  }
  explicit EqualsProtoMatcher(std::string text) : text_(std::move(text)) {}

  bool MatchAndExplain(const google::protobuf::Message& actual,
                       std::ostream* os) const {
    std::shared_ptr<google::protobuf::Message> expected = expected_;
    if (expected == nullptr) {
      expected.reset(actual.New());
      if (!google::protobuf::TextFormat::ParseFromString(text_,
                                                         expected.get())) {
        if (os != nullptr) {
          *os << "where the expected text is no "
              << actual.GetDescriptor()->full_name();
        }
        return false;
      }
    }
    if (expected->GetDescriptor() != actual.GetDescriptor()) {
      if (os != nullptr) {
        *os << "which is a " << actual.GetDescriptor()->full_name();
      }
      return false;
    }
    std::string differences;
    google::protobuf::util::MessageDifferencer differencer;
    differencer.ReportDifferencesToString(&differences);
    const bool equal = differencer.Compare(*expected, actual);
    if (!equal && os != nullptr) *os << "which differs:\n" << differences;
    return equal;
  }
  void DescribeTo(std::ostream* os) const { *os << "equals " << text_; }
  void DescribeNegationTo(std::ostream* os) const {
    *os << "does not equal " << text_;
  }

 private:
  std::shared_ptr<google::protobuf::Message> expected_;  // null: text only
  std::string text_;
};

}  // namespace mledge::testing_support

namespace mledge {

inline testing_support::EqualsProtoMatcher EqualsProto(
    const google::protobuf::Message& expected) {
  return testing_support::EqualsProtoMatcher(expected);
}
inline testing_support::EqualsProtoMatcher EqualsProto(std::string text) {
  return testing_support::EqualsProtoMatcher(std::move(text));
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_SUPPORT_PROTO_MATCHERS_H_
