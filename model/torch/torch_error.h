#ifndef MLEDGE_MODEL_TORCH_TORCH_ERROR_H_
#define MLEDGE_MODEL_TORCH_TORCH_ERROR_H_

#include <exception>
#include <string>
#include <utility>

#include "absl/status/status.h"

// LibTorch reports failure by exceptions, whose text may run over pages of
// back trace. They end at the edge of model/torch and client/torch.

namespace mledge {

// The one line of an exception's text that says what happened.
std::string ShortMessage(const std::exception& error);

// Runs `body`, which returns an absl::Status or StatusOr; an exception becomes
// `code` with "<what>: <short message>".
template <typename Body>
auto CatchTorch(absl::StatusCode code, const char* what, Body&& body)
    -> decltype(body()) {
  try {
    return std::forward<Body>(body)();
  } catch (const std::exception& error) {
    return absl::Status(code, std::string(what) + ": " + ShortMessage(error));
  }
}

}  // namespace mledge

#endif  // MLEDGE_MODEL_TORCH_TORCH_ERROR_H_
