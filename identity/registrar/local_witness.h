#ifndef MLEDGE_IDENTITY_REGISTRAR_LOCAL_WITNESS_H_
#define MLEDGE_IDENTITY_REGISTRAR_LOCAL_WITNESS_H_

#include "mledge/core/clock.h"
#include "mledge/identity/registrar/registrar.h"
#include "mledge/identity/witness.h"

// A registrar in the same process, asked as a coordinator asks: for the
// simulator, benches and tests. Answers before the call returns. Thread-safe as
// the clock is.

namespace mledge {

class LocalWitness final : public Witness {
 public:
  // Both must outlive this. `coordinator`: in whose name it asks; the
  // registrar's options name it.
  LocalWitness(Registrar* registrar, Clock* clock, RegistrarCaller coordinator)
      : registrar_(registrar),
        clock_(clock),
        coordinator_(std::move(coordinator)) {}

  void WitnessDirectory(const Digest& task, uint64_t session_number,
                        const Digest& directory, DirectoryDone done) override {
    done(registrar_->WitnessDirectory(coordinator_, task, session_number,
                                      directory, clock_->TimeNow()));
  }
  void WitnessSets(const Digest& task, uint64_t session_number, uint32_t group,
                   const Digest& session, const Digest& sets,
                   SetsDone done) override {
    done(registrar_->WitnessSets(coordinator_, task, session_number, group,
                                 session, sets, clock_->TimeNow()));
  }
  void AppendVersion(const Digest& task, uint64_t version, const Digest& entry,
                     VersionDone done) override {
    done(registrar_->AppendVersion(coordinator_, task, version, entry,
                                   clock_->TimeNow()));
  }

 private:
  Registrar* const registrar_;
  Clock* const clock_;
  const RegistrarCaller coordinator_;
};

}  // namespace mledge

#endif  // MLEDGE_IDENTITY_REGISTRAR_LOCAL_WITNESS_H_
