#ifndef MLEDGE_IDENTITY_GRPC_STATUS_H_
#define MLEDGE_IDENTITY_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

// Between our statuses and gRPC's, whose codes are the same numbers.

namespace mledge {

inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  // A message longer than this does not fit beside the other headers.
  constexpr size_t kLongestMessage = 4096;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message().substr(0, kLongestMessage)));
}

inline absl::Status FromGrpcStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_GRPC_STATUS_H_
