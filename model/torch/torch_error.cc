#include "mledge/model/torch/torch_error.h"

#include <c10/util/Exception.h>

#include <string_view>

namespace mledge {
namespace {

std::string_view FirstLine(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \n");
  if (begin == std::string_view::npos) return "unknown error";
  text.remove_prefix(begin);
  return text.substr(0, text.find('\n'));
}

}  // namespace

std::string ShortMessage(const std::exception& error) {
  std::string text = error.what();
  if (const auto* torch_error = dynamic_cast<const c10::Error*>(&error)) {
    text = torch_error->what_without_backtrace();
  }
  // The interpreter prints the model's stack first and the error itself last.
  if (text.find("Traceback of TorchScript") != std::string::npos) {
    constexpr std::string_view kError = "Error: ";
    const size_t last = text.rfind(kError);
    if (last != std::string::npos) text.erase(0, last + kError.size());
  }
  return std::string(FirstLine(text));
}

}  // namespace mledge
