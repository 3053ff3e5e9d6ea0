#include "mledge/identity/tls_policy.h"

#include <openssl/bio.h>
#include <openssl/conf.h>
#include <openssl/ssl.h>

#include "mledge/core/logging.h"

namespace mledge {
namespace {

// OpenSSL applies the section `system_default` to each new context. It excludes
// versions, which gRPC's later choice of a lowest version does not bring back.
constexpr char kConfiguration[] = R"(
openssl_conf = modules
[modules]
ssl_conf = contexts
[contexts]
system_default = every_context
[every_context]
Protocol = -ALL,TLSv1.3
)";

bool LoadConfiguration() {
  // The machine's own configuration first: loaded later, it would replace ours.
  OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, nullptr);
  BIO* const text = BIO_new_mem_buf(kConfiguration, -1);
  CONF* const configuration = NCONF_new(nullptr);
  long error_line = 0;
  const bool loaded = text != nullptr && configuration != nullptr &&
                      NCONF_load_bio(configuration, text, &error_line) == 1 &&
                      CONF_modules_load(configuration, nullptr, 0) == 1;
  NCONF_free(configuration);
  BIO_free(text);
  return loaded;
}

}  // namespace

void RequireTls13() {
  static const bool loaded = LoadConfiguration();
  CHECK(loaded) << "OpenSSL refused to exclude TLS 1.2";
}

}  // namespace mledge
