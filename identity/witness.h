#ifndef MLEDGE_IDENTITY_WITNESS_H_
#define MLEDGE_IDENTITY_WITNESS_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/core/sha256.h"
#include "mledge/identity/witness_key.h"
#include "mledge/v1/witness.pb.h"

// What the registrar vouches for, as devices check it and as the coordinator
// asks for it. proto/mledge/v1/witness.proto says what is signed.
//
// A task is named by the SHA-256 of its signed payload: the bytes that the
// operator signed and that devices verify. Values; const access from several
// threads is safe.

namespace mledge {

// "This directory, and no other, belongs to this session of this task."
struct WitnessStatement {
  Digest task;
  uint64_t session_number = 0;  // from 1
  Digest directory;             // H(directory)
  absl::Time time;              // whole milliseconds
  std::string signature;        // 64 bytes

  bool operator==(const WitnessStatement&) const = default;

  // Whether the key's owner signed exactly these values; the caller compares
  // them with what it expects. PERMISSION_DENIED: no.
  absl::Status Verify(const WitnessPublicKey& key) const;
  // Sets the signature.
  void Sign(const WitnessKey& key);

  v1::WitnessStatement ToProto() const;
  // INVALID_ARGUMENT: a hash that is none, number 0, a signature that is not of
  // 64 bytes, a time that is none. Verifies nothing.
  static absl::StatusOr<WitnessStatement> FromProto(
      const v1::WitnessStatement& message);
};

// "In this group of this session everybody is told the same about who is alive
// and who is dead."
struct SetsStatement {
  Digest task;
  uint64_t session_number = 0;  // from 1
  uint32_t group = 0;
  Digest session;   // H(offer, directory, group)
  Digest sets;      // of session, group, alive and dead
  absl::Time time;  // whole milliseconds
  std::string signature;

  bool operator==(const SetsStatement&) const = default;

  // As in WitnessStatement.
  absl::Status Verify(const WitnessPublicKey& key) const;
  void Sign(const WitnessKey& key);
  v1::SetsStatement ToProto() const;
  static absl::StatusOr<SetsStatement> FromProto(
      const v1::SetsStatement& message);
};

// "The log of this task's versions ends here."
struct VersionLogHead {
  Digest task;
  uint64_t length = 0;  // versions in the log, from 1
  Digest head;
  absl::Time time;  // whole milliseconds
  std::string signature;

  bool operator==(const VersionLogHead&) const = default;

  // As in WitnessStatement.
  absl::Status Verify(const WitnessPublicKey& key) const;
  void Sign(const WitnessKey& key);
  v1::VersionLogHead ToProto() const;
  static absl::StatusOr<VersionLogHead> FromProto(
      const v1::VersionLogHead& message);

  // Whether the log's last versions are `entries`, which stand on the log as it
  // was with the head `before`; the first of them then is version
  // length - entries.size(). PERMISSION_DENIED: no.
  absl::Status CheckEnd(const Digest& before,
                        std::span<const Digest> entries) const;
};

// The head of a task's log that holds nothing yet.
Digest EmptyVersionLog(const Digest& task);
// The head after version `version` was put onto the log with the head `before`.
// `entry`: SHA-256 of the payload of the signed VersionStatement.
Digest ExtendVersionLog(const Digest& task, uint64_t version,
                        const Digest& before, const Digest& entry);

// What the coordinator, and the simulator in its place, asks of the registrar:
// a RegistrarClient (identity/grpc) or a LocalWitness (identity/registrar).
// Asking again with the same arguments is harmless and gives the same answer.
class Witness {
 public:
  using DirectoryDone = std::function<void(absl::StatusOr<WitnessStatement>)>;
  using SetsDone = std::function<void(absl::StatusOr<SetsStatement>)>;
  using VersionDone = std::function<void(absl::StatusOr<VersionLogHead>)>;

  virtual ~Witness() = default;

  // `done` runs exactly once, before this call returns or on another thread;
  // it must not block. The answer has been verified.
  //
  // FAILED_PRECONDITION: another directory was witnessed for this number, or a
  // higher number was; the session is lost. RESOURCE_EXHAUSTED: the task's
  // sessions of this day are used up. UNAVAILABLE, DEADLINE_EXCEEDED: try
  // again, with the same arguments.
  virtual void WitnessDirectory(const Digest& task, uint64_t session_number,
                                const Digest& directory,
                                DirectoryDone done) = 0;

  // `session` and `sets` as in SetsStatement. FAILED_PRECONDITION: other sets
  // were witnessed for this group, or no directory for this session; the group
  // is lost.
  virtual void WitnessSets(const Digest& task, uint64_t session_number,
                           uint32_t group, const Digest& session,
                           const Digest& sets, SetsDone done) = 0;

  // Puts a version onto the task's log. FAILED_PRECONDITION: `version` is not
  // the next one (the last one may be repeated), or the last one had another
  // entry: the log would go back or fork.
  virtual void AppendVersion(const Digest& task, uint64_t version,
                             const Digest& entry, VersionDone done) = 0;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_WITNESS_H_
