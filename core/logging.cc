#include "mledge/core/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mledge/core/strings.h"

namespace mledge {
namespace {

struct Logger {
  LoggingOptions options;
  spdlog::logger sink{"mledge",
                      std::make_shared<spdlog::sinks::stderr_sink_mt>()};
};

// Never destroyed: threads may log while static objects die.
Logger& GlobalLogger() {
  static Logger* const logger = [] {
    auto* created = new Logger();
    created->sink.set_pattern("%v");
    created->sink.set_level(spdlog::level::trace);
    created->sink.flush_on(spdlog::level::trace);
    return created;
  }();
  return *logger;
}

std::string_view NameOf(LogSeverity severity) {
  switch (severity) {
    case LogSeverity::kInfo:
      return "INFO";
    case LogSeverity::kWarning:
      return "WARNING";
    case LogSeverity::kError:
      return "ERROR";
    case LogSeverity::kFatal:
      return "FATAL";
  }
  return "UNKNOWN";
}

spdlog::level::level_enum LevelOf(LogSeverity severity) {
  switch (severity) {
    case LogSeverity::kInfo:
      return spdlog::level::info;
    case LogSeverity::kWarning:
      return spdlog::level::warn;
    case LogSeverity::kError:
      return spdlog::level::err;
    case LogSeverity::kFatal:
      return spdlog::level::critical;
  }
  return spdlog::level::critical;
}

std::string_view Basename(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string UtcTime() {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(),
                          absl::UTCTimeZone());
}

// Messages quote bytes from outside. A line break is shown indented and other
// control characters as \xNN, so that nobody can forge a line or steer the
// reader's terminal.
std::string MakePrintable(std::string_view message) {
  std::string printable;
  printable.reserve(message.size());
  for (const char c : message) {
    if (c == '\n') {
      printable += "\n    ";
    } else if (absl::ascii_iscntrl(static_cast<unsigned char>(c)) &&
               c != '\t') {
      absl::StrAppendFormat(&printable, "\\x%02x",
                            static_cast<unsigned char>(c));
    } else {
      printable += c;
    }
  }
  return printable;
}

std::string TextLine(const LoggingOptions& options, LogSeverity severity,
                     std::string_view source, std::string_view message) {
  const std::string component =
      options.component.empty() ? "" : StrCat(options.component, " ");
  return StrCat(UtcTime(), " ", NameOf(severity), " ", component, source, "] ",
                MakePrintable(message));
}

std::string JsonLine(const LoggingOptions& options, LogSeverity severity,
                     std::string_view source, std::string_view message) {
  nlohmann::ordered_json line;
  line["time"] = UtcTime();
  line["severity"] = NameOf(severity);
  if (!options.component.empty()) line["component"] = options.component;
  line["source"] = source;
  line["message"] = message;
  // Bytes that are not UTF-8 become U+FFFD instead of an exception.
  return line.dump(-1, ' ', /*ensure_ascii=*/false,
                   nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

void InitializeLogging(const LoggingOptions& options) {
  GlobalLogger().options = options;
}

namespace logging_internal {

LogMessage::LogMessage(LogSeverity severity, const char* file, int line)
    : severity_(severity), file_(file), line_(line) {}

LogMessage::~LogMessage() {
  Logger& logger = GlobalLogger();
  if (severity_ == LogSeverity::kFatal ||
      severity_ >= logger.options.minimum_severity) {
    const std::string source = StrCat(Basename(file_), ":", line_);
    const std::string message = stream_.str();
    const bool is_json =
        logger.options.format == LoggingOptions::Format::kJsonLines;
    const std::string line =
        is_json ? JsonLine(logger.options, severity_, source, message)
                : TextLine(logger.options, severity_, source, message);
    logger.sink.log(LevelOf(severity_), spdlog::string_view_t(line));
  }
  if (severity_ == LogSeverity::kFatal) std::abort();
}

}  // namespace logging_internal
}  // namespace mledge
