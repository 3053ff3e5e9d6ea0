#ifndef MLEDGE_CLI_SECAGG_FLOOR_H_
#define MLEDGE_CLI_SECAGG_FLOOR_H_

// What the primitives of a session cost on this machine as bare OpenSSL calls:
// the floor that `mledge secagg bench` compares with.

namespace mledge {

struct SecaggFloor {
  double seconds_per_keystream_byte = 0;  // AES-128-CTR in blocks of 16 KiB
  double seconds_per_agreement = 0;       // X25519 with import of the peer
  double seconds_per_verification = 0;    // ECDSA P-256
  double seconds_per_signature = 0;
  double seconds_per_witness = 0;  // verification of Ed25519
};

// Takes about a quarter of a second; the best of several short runs, on one
// thread.
SecaggFloor MeasureSecaggFloor();

}  // namespace mledge

#endif  // MLEDGE_CLI_SECAGG_FLOOR_H_
