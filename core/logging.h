#ifndef MLEDGE_CORE_LOGGING_H_
#define MLEDGE_CORE_LOGGING_H_

#include <ostream>
#include <sstream>
#include <string>
#include <string_view>

// LOG(INFO) << ..., CHECK(condition) << ..., under Abseil's names, because
// Debian's Abseil has no absl/log; drop this file when it has. Text for people
// or JSON lines for machines, to standard error. CHECK is for our own broken
// invariants, never for what came from outside. Include it from .cc files only,
// and not where LibTorch is included: c10 defines macros of the same names.
// Thread-safe.

namespace mledge {

enum class LogSeverity { kInfo, kWarning, kError, kFatal };

struct LoggingOptions {
  enum class Format { kText, kJsonLines };
  Format format = Format::kText;
  LogSeverity minimum_severity = LogSeverity::kInfo;
  // Name of the program or device, in each line; empty: none.
  std::string component;
};

// Call once, before threads start; without a call the defaults hold.
void InitializeLogging(const LoggingOptions& options);

namespace logging_internal {

class LogMessage {
 public:
  LogMessage(LogSeverity severity, const char* file, int line);
  ~LogMessage();  // writes the line; a fatal one ends the process
  std::ostream& stream() { return stream_; }

 private:
  const LogSeverity severity_;
  const char* const file_;
  const int line_;
  std::ostringstream stream_;
};

struct Voidify {
  void operator&(std::ostream&) {}
};

}  // namespace logging_internal
}  // namespace mledge

#define MLEDGE_LOG_SEVERITY_INFO_ ::mledge::LogSeverity::kInfo
#define MLEDGE_LOG_SEVERITY_WARNING_ ::mledge::LogSeverity::kWarning
#define MLEDGE_LOG_SEVERITY_ERROR_ ::mledge::LogSeverity::kError
#define MLEDGE_LOG_SEVERITY_FATAL_ ::mledge::LogSeverity::kFatal

#define LOG(severity)                                                       \
  ::mledge::logging_internal::LogMessage(MLEDGE_LOG_SEVERITY_##severity##_, \
                                         __FILE__, __LINE__)                \
      .stream()

#define CHECK(condition)                                \
  (condition) ? (void)0                                 \
              : ::mledge::logging_internal::Voidify() & \
                    LOG(FATAL) << "CHECK failed: " #condition " "

#endif  // MLEDGE_CORE_LOGGING_H_
