#ifndef MLEDGE_CORE_STATUS_MACROS_H_
#define MLEDGE_CORE_STATUS_MACROS_H_

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mledge/core/strings.h"

// Early returns for code that reports failure through absl::Status, and
// `Annotate`, which says where a failure happened while it travels upwards.

// Returns from the enclosing function when `expr` (an absl::Status) is an
// error.
#define MLEDGE_RETURN_IF_ERROR(expr)                              \
  do {                                                            \
    if (absl::Status mledge_status = (expr); !mledge_status.ok()) \
      return mledge_status;                                       \
  } while (false)

// Evaluates `expr` (an absl::StatusOr<T>); on error returns its status from
// the enclosing function, else assigns the value to `lhs` (which may declare).
#define MLEDGE_ASSIGN_OR_RETURN(lhs, expr) \
  MLEDGE_ASSIGN_OR_RETURN_IMPL_(           \
      MLEDGE_STATUS_CONCAT_(mledge_statusor_, __LINE__), lhs, expr)

#define MLEDGE_STATUS_CONCAT_INNER_(a, b) a##b
#define MLEDGE_STATUS_CONCAT_(a, b) MLEDGE_STATUS_CONCAT_INNER_(a, b)
#define MLEDGE_ASSIGN_OR_RETURN_IMPL_(statusor, lhs, expr) \
  auto statusor = (expr);                                  \
  if (!statusor.ok()) return std::move(statusor).status(); \
  lhs = *std::move(statusor)

namespace mledge {

// The same code, with "<where>: " before the message. OK stays OK.
inline absl::Status Annotate(const absl::Status& status,
                             std::string_view where) {
  if (status.ok()) return status;
  return absl::Status(status.code(), StrCat(where, ": ", status.message()));
}

}  // namespace mledge

#endif  // MLEDGE_CORE_STATUS_MACROS_H_
