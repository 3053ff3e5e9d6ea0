#ifndef MLEDGE_SIMULATION_INTERNAL_SECURE_FLEET_H_
#define MLEDGE_SIMULATION_INTERNAL_SECURE_FLEET_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mledge/aggregation/secagg/client.h"
#include "mledge/client/member_registry.h"
#include "mledge/coordinator/coordinator.h"
#include "mledge/core/clock.h"
#include "mledge/identity/registrar/local_witness.h"
#include "mledge/identity/registrar/memory_registrar_storage.h"
#include "mledge/identity/registrar/registrar.h"
#include "mledge/simulation/deterministic_secret_random.h"
#include "mledge/simulation/event_queue.h"
#include "mledge/simulation/internal/simulated_cryptography.h"
#include "mledge/simulation/internal/throwaway_signers.h"
#include "mledge/v1/task.pb.h"

// What a simulation with secure aggregation has besides coordinator and
// devices: a registrar, certificates of devices, and secrets that are the same
// each time. The protocol's messages are those of the field; only their
// secrecy is not, and where the task says `arithmetic_only` there is none. One
// thread at a time.

namespace mledge::simulation_internal {

class SecureFleet {
 public:
  // `task` is validated and has secure aggregation. `queue` must outlive this.
  static absl::StatusOr<std::unique_ptr<SecureFleet>> Create(
      const v1::Task& task, const ThrowawaySigners& signers, EventQueue* queue);

  // For the coordinator.
  SecureAggregationServices services();

  // For the devices. Certificates are issued when first asked for.
  absl::StatusOr<const secagg::MemberSigner*> SignerOf(
      const std::string& device);
  MemberRegistry* members() { return &members_; }
  const WitnessPublicKey& registrar() const {
    return registrar_->witness_key();
  }
  const secagg::ClientPolicy& policy() const { return policy_; }

  struct Randomness {
    DeterministicSecretRandom keys;
    DeterministicSecretRandom rounding;
  };
  const secagg::SessionCryptography* cryptography() const {
    return cryptography_.get();
  }
  // Of one device's one assignment.
  std::unique_ptr<Randomness> RandomnessOf(
      const std::string& device, const v1::Assignment& assignment) const;

 private:
  class VirtualClock final : public Clock {
   public:
    explicit VirtualClock(EventQueue* queue) : queue_(queue) {}
    absl::Time TimeNow() override { return queue_->now(); }

   private:
    EventQueue* const queue_;
  };

  SecureFleet(const v1::Task& task, const ThrowawaySigners& signers,
              Certificate root, EventQueue* queue);

  const uint64_t seed_;
  const ThrowawaySigners& signers_;
  VirtualClock clock_;
  DeterministicSecretRandom random_;
  MemoryRegistrarStorage storage_;
  std::unique_ptr<Registrar> registrar_;
  std::unique_ptr<LocalWitness> witness_;
  MemberRegistry members_;
  secagg::ClientPolicy policy_;
  const bool arithmetic_only_;
  const std::unique_ptr<const RepeatableCryptography> cryptography_;
  std::map<std::string, std::unique_ptr<secagg::MemberSigner>> device_signers_;
};

}  // namespace mledge::simulation_internal

#endif  // MLEDGE_SIMULATION_INTERNAL_SECURE_FLEET_H_
