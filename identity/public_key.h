#ifndef MLEDGE_IDENTITY_PUBLIC_KEY_H_
#define MLEDGE_IDENTITY_PUBLIC_KEY_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"

struct evp_pkey_st;  // OpenSSL's EVP_PKEY

// The half of a key that everybody may know. An immutable value that shares its
// data; const access from several threads is safe.

namespace mledge {

class PublicKey {
 public:
  // Takes over the reference. Precondition: not null.
  static PublicKey Adopt(evp_pkey_st* handle);

  // ECDSA with SHA-256, signature in DER. PERMISSION_DENIED when it does not
  // fit, or when the key is not on P-256.
  absl::Status Verify(std::string_view message,
                      std::string_view signature) const;
  bool is_p256() const;
  bool operator==(const PublicKey& other) const;

  evp_pkey_st* handle() const { return handle_.get(); }

 private:
  explicit PublicKey(std::shared_ptr<evp_pkey_st> handle);
  std::shared_ptr<evp_pkey_st> handle_;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_PUBLIC_KEY_H_
