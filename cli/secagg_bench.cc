#include "mledge/cli/secagg_bench.h"

#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "mledge/aggregation/secagg/client.h"
#include "mledge/aggregation/secagg/mask.h"
#include "mledge/aggregation/secagg/server.h"
#include "mledge/cli/secagg_bench_identities.h"
#include "mledge/cli/secagg_bench_setup.h"
#include "mledge/cli/secagg_floor.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/witness_key.h"

namespace mledge {
namespace {

using namespace secagg;  // NOLINT: the bench is all about it

double Seconds(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * time.tv_nsec;
}

// What is allocated and not freed in this process.
int64_t LiveBytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

// The name of the round that a message opens or closes.
const char* RoundOf(const v1::SecaggServerMessage& message) {
  if (message.has_offer()) return "1 advertise";
  if (message.has_directory()) return "3 share keys";
  if (message.has_boxes()) return "4 masked input";
  if (message.has_sets()) return "5 consistency";
  return "6 unmask";
}
const char* RoundOf(const v1::SecaggDeviceMessage& message) {
  if (message.has_advertise()) return "1 advertise";
  if (message.has_share_boxes()) return "3 share keys";
  if (message.has_sets_signature()) return "5 consistency";
  return "6 unmask";
}

class BenchSession {
 public:
  explicit BenchSession(const SecaggBenchOptions& options)
      : options_(options),
        identities_(options.identities, now_),
        registrar_(WitnessKey::Generate(random_)) {
    if (options.threads > 1) {
      pool_ = std::make_unique<ThreadPool>(options.threads - 1, "bench");
    }
  }

  absl::StatusOr<SecaggBenchResult> Run() {
    const SecaggFloor before = MeasureSecaggFloor();
    MLEDGE_ASSIGN_OR_RETURN(
        server_, MakeBenchServer(options_, now_, registrar_,
                                 {identities_.members(), pool_.get()}));
    MLEDGE_RETURN_IF_ERROR(MakeClients());
    OnServer("0 offer", [&] { return server_->Start(now_); });
    for (size_t i = 0; i < clients_.size(); ++i) {
      OnServer("0 offer", [&] {
        return server_->OnConnected(now_, DeviceId(clients_[i].id)).effects;
      });
    }
    Pump();
    while (!server_->finished()) {
      now_ = wake_;
      OnServer(waiting_for_, [&] { return server_->OnTimer(now_); });
      Pump();
    }
    if (!failure_.ok()) {
      return absl::AbortedError(StrCat("no sum: ", failure_.message()));
    }
    const SecaggFloor after = MeasureSecaggFloor();
    return Report(before, after);
  }

 private:
  struct Client {
    std::string id;
    std::unique_ptr<MemberSigner> signer;
    std::unique_ptr<SecaggClient> client;
    bool dropped = false;
    double cpu = 0;
  };

  uint32_t Value(size_t client, int64_t coordinate) const {
    return static_cast<uint32_t>(client * 2654435761u +
                                 static_cast<uint32_t>(coordinate) * 40503u);
  }

  absl::Status MakeClients() {
    const ClientPolicy policy = BenchPolicy(options_);
    const auto lost = static_cast<int64_t>(
        options_.dropout * static_cast<double>(options_.clients));
    for (int64_t i = 0; i < options_.clients; ++i) {
      Client& client = clients_.emplace_back();
      const std::string number = std::to_string(i);
      client.id = std::string(7 - number.size(), '0') + number;
      client.signer = identities_.MakeSigner(client.id);
      // Certificates are verified once and kept by their hash, so that in an
      // ordinary session most are known; here all are.
      MLEDGE_RETURN_IF_ERROR(identities_.members()
                                 ->Identify(client.signer->certificates(), now_)
                                 .status());
      // Spread evenly over the directory, which the graph's order shuffles.
      client.dropped =
          (i + 1) * lost / options_.clients != i * lost / options_.clients;
      ClientUpdate update;
      update.id = "bench";
      update.task = update.package = update.base_version_entry =
          Sha256Of("bench");
      const OfferSection& section = server_->offer().sections[0];
      MLEDGE_ASSIGN_OR_RETURN(
          ModularVector vector,
          ModularVector::Create(section.modulus, section.length));
      for (int64_t j = 0; j < section.length; ++j) vector.Set(j, Value(i, j));
      update.sections.push_back(std::move(vector));
      MLEDGE_ASSIGN_OR_RETURN(
          client.client,
          SecaggClient::Create(policy, std::move(update),
                               {client.signer.get(), identities_.members(),
                                &random_, registrar_.public_key()},
                               "", nullptr));
    }
    return absl::OkStatus();
  }

  // Does something of the server's and keeps its account.
  void Measure(const std::string& round, const std::function<void()>& work) {
    const int64_t verified = identities_.signatures_verified();
    const double cpu = Seconds(CLOCK_PROCESS_CPUTIME_ID);
    const double wall = Seconds(CLOCK_MONOTONIC);
    work();
    result_.server_cpu_seconds_by_round[round] +=
        Seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    result_.server_wall_seconds_by_round[round] +=
        Seconds(CLOCK_MONOTONIC) - wall;
    result_.signatures_verified += identities_.signatures_verified() - verified;
  }

  void OnServer(const std::string& round,
                const std::function<ServerEffects()>& call) {
    ServerEffects effects;
    const int64_t before = options_.memory ? LiveBytes() : 0;
    Measure(round, [&] { effects = call(); });
    if (options_.memory) {
      server_bytes_ += LiveBytes() - before;
      result_.server_held_bytes =
          std::max(result_.server_held_bytes, server_bytes_);
    }
    for (ServerEffect& effect : effects) {
      auto* send = std::get_if<SendToDevices>(&effect);
      if (send != nullptr) {
        send->message == nullptr ? SendEach(round, *send)
                                 : SendAll(round, *send);
      } else {
        Handle(effect);
      }
    }
  }

  // One message to many is serialized once.
  void SendAll(const std::string& round, const SendToDevices& send) {
    auto bytes = std::make_shared<std::string>();
    Measure(round, [&] { *bytes = send.message->SerializeAsString(); });
    for (const DeviceId& device : send.devices) {
      events_.push_back([this, i = std::stoul(device.value()), bytes] {
        ToClient(i, *bytes);
      });
    }
  }

  // Messages of their own are made a few at a time, as streams take them.
  void SendEach(const std::string& round, const SendToDevices& send) {
    constexpr size_t kAtOnce = 64;
    for (size_t first = 0; first < send.devices.size(); first += kAtOnce) {
      const auto begin = send.devices.begin() + first;
      const auto end = begin + std::min(kAtOnce, send.devices.size() - first);
      events_.push_back([this, round, part = SendToDevices{{begin, end}, {}}] {
        messages_.resize(part.devices.size());
        Measure(round, [&] { MakeMessages(part, messages_); });
        for (size_t i = 0; i < messages_.size(); ++i) {
          if (messages_[i].empty()) continue;
          ToClient(std::stoul(part.devices[i].value()), messages_[i]);
        }
      });
    }
  }

  void MakeMessages(const SendToDevices& send,
                    std::vector<std::string>& messages) const {
    const auto count = static_cast<int64_t>(messages.size());
    const int64_t grain = (count + options_.threads - 1) / options_.threads;
    ParallelFor(pool_.get(), count, grain, [&](int64_t begin, int64_t end) {
      v1::SecaggServerMessage message;
      for (int64_t i = begin; i < end; ++i) {
        messages[i].clear();
        if (server_->MessageFor(send, send.devices[i], message)) {
          message.SerializeToString(&messages[i]);
        }
      }
    });
  }

  void Handle(ServerEffect& effect) {
    if (auto* request = std::get_if<RequestWitness>(&effect)) {
      WitnessStatement statement{.task = request->task,
                                 .session_number = request->session_number,
                                 .directory = request->directory,
                                 .time = now_};
      statement.Sign(registrar_);
      OnServer("2 directory", [this, statement] {
        return server_->OnWitnessed(now_, statement);
      });
    } else if (auto* sets = std::get_if<RequestSetsWitness>(&effect)) {
      SetsStatement statement{.task = sets->task,
                              .session_number = sets->session_number,
                              .group = sets->group,
                              .session = sets->session,
                              .sets = sets->sets,
                              .time = now_};
      statement.Sign(registrar_);
      OnServer("5 consistency", [this, statement] {
        return server_->OnSetsWitnessed(now_, statement.group, statement);
      });
    } else if (auto* approve = std::get_if<ApproveUnmask>(&effect)) {
      OnServer("5 consistency", [this, group = approve->group] {
        return server_->OnUnmaskApproved(now_, group, absl::OkStatus());
      });
    } else if (auto* wake = std::get_if<WakeServerAt>(&effect)) {
      wake_ = wake->time;
    } else if (auto* done = std::get_if<GroupFinished>(&effect)) {
      Check(*done);
      OnServer("6 unmask", [this] { return server_->OnCheckpointed(now_, 0); });
    } else if (auto* lost = std::get_if<GroupAborted>(&effect)) {
      failure_ = lost->reason;
    }
  }

  void Check(const GroupFinished& done) {
    result_.counted = static_cast<int64_t>(done.counted.size());
    result_.keystream_bytes = done.counters.keystream_bytes;
    result_.key_agreements = done.counters.key_agreements;
    uint32_t base = 0;
    for (const DeviceId& id : done.counted) {
      base += Value(std::stoul(id.value()), 0);
    }
    const ModularVector& sum = done.sum[0];
    result_.exact = true;
    for (int64_t j = 0; j < sum.size(); ++j) {
      const uint32_t expected = base + static_cast<uint32_t>(result_.counted) *
                                           (static_cast<uint32_t>(j) * 40503u);
      result_.exact &= sum.residue(j) == (expected & sum.modulus().mask());
    }
  }

  void ToClient(size_t i, const std::string& bytes) {
    Client& client = clients_[i];
    result_.bytes_to_clients += static_cast<int64_t>(bytes.size());
    OnClient(client, "", [&](std::string& round) {
      v1::SecaggServerMessage message;
      message.ParseFromString(bytes);
      round = RoundOf(message);
      waiting_for_ = round;
      return client.client->OnMessage(now_, message);
    });
  }

  void OnClient(Client& client, std::string round,
                const std::function<ClientEffects(std::string&)>& call) {
    const double start = Seconds(CLOCK_THREAD_CPUTIME_ID);
    ClientEffects effects = call(round);
    std::vector<std::string> sent;
    for (ClientEffect& effect : effects) {
      if (auto* send = std::get_if<SendToServer>(&effect)) {
        sent.push_back(send->message.SerializeAsString());
      }
    }
    const double spent = Seconds(CLOCK_THREAD_CPUTIME_ID) - start;
    client.cpu += spent;
    if (!client.dropped) client_seconds_[round] += spent;
    for (std::string& bytes : sent) {
      result_.bytes_to_server += static_cast<int64_t>(bytes.size());
      events_.push_back([this, &client, bytes = std::move(bytes)] {
        v1::SecaggDeviceMessage message;
        message.ParseFromString(bytes);
        OnServer(RoundOf(message), [&] {
          v1::SecaggDeviceMessage parsed;
          parsed.ParseFromString(bytes);
          return server_->OnMessage(now_, DeviceId(client.id), parsed).effects;
        });
      });
    }
    for (ClientEffect& effect : effects) {
      if (auto* persist = std::get_if<PersistJournal>(&effect)) {
        events_.push_back([this, &client, round, record = persist->record] {
          OnClient(client, round, [&](std::string&) {
            return client.client->OnPersisted(now_, record);
          });
        });
      } else if (auto* upload = std::get_if<UploadMaskedInput>(&effect)) {
        if (client.dropped) continue;
        result_.masked_input_bytes =
            static_cast<int64_t>(upload->bytes->size());
        result_.bytes_to_server += result_.masked_input_bytes;
        // The content's hash is the upload layer's to check.
        OnServer("4 masked input", [&] {
          return server_
              ->OnMaskedInput(now_, DeviceId(client.id), upload->session,
                              upload->content_sha256, *upload->bytes)
              .effects;
        });
      } else if (auto* done = std::get_if<ClientFinished>(&effect)) {
        if (done->outcome == ClientFinished::Outcome::kLeft) {
          failure_ = done->reason;
        }
      }
    }
  }

  void Pump() {
    while (!events_.empty()) {
      const auto event = std::move(events_.front());
      events_.pop_front();
      event();
    }
  }

  SecaggBenchResult Report(const SecaggFloor& a, const SecaggFloor& b) {
    const auto cost = [&](double SecaggFloor::*part, int64_t count) {
      return std::min(a.*part, b.*part) * static_cast<double>(count);
    };
    const GroupParameters& used = server_->directory()->parameters[0];
    result_.neighbors = used.neighbors;
    result_.threshold = used.threshold;
    for (auto& [round, seconds] : result_.server_cpu_seconds_by_round) {
      result_.server_cpu_seconds += seconds;
    }
    for (auto& [round, seconds] : result_.server_wall_seconds_by_round) {
      result_.server_wall_seconds += seconds;
    }
    result_.floor_seconds =
        cost(&SecaggFloor::seconds_per_keystream_byte,
             result_.keystream_bytes) +
        cost(&SecaggFloor::seconds_per_agreement, result_.key_agreements) +
        cost(&SecaggFloor::seconds_per_verification,
             result_.signatures_verified);
    std::vector<double> stayed;
    for (const Client& client : clients_) {
      if (!client.dropped) stayed.push_back(client.cpu);
    }
    std::nth_element(stayed.begin(), stayed.begin() + stayed.size() / 2,
                     stayed.end());
    result_.client_cpu_ms = 1e3 * stayed[stayed.size() / 2];
    for (const auto& [round, seconds] : client_seconds_) {
      result_.client_cpu_ms_by_round[round] =
          1e3 * seconds / static_cast<double>(stayed.size());
    }
    const int64_t k = result_.neighbors;
    const OfferSection& section = server_->offer().sections[0];
    result_.client_floor_ms =
        1e3 *
        (cost(&SecaggFloor::seconds_per_keystream_byte,
              (k + 1) * KeystreamSize(section.modulus, section.length)) +
         cost(&SecaggFloor::seconds_per_agreement, 2 * k) +
         // Version log, directory, sets.
         cost(&SecaggFloor::seconds_per_witness, 3) +
         (options_.identities ? cost(&SecaggFloor::seconds_per_verification,
                                     k + result_.threshold) +
                                    cost(&SecaggFloor::seconds_per_signature, 2)
                              : 0));
    return result_;
  }

  const SecaggBenchOptions options_;
  absl::Time now_ = absl::FromUnixSeconds(1767225600);
  SystemSecretRandom random_;
  SecaggBenchIdentities identities_;
  WitnessKey registrar_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<SecaggServer> server_;
  std::deque<Client> clients_;
  std::deque<std::function<void()>> events_;
  // Of SendEach, kept for their memory.
  std::vector<std::string> messages_;
  std::string waiting_for_ = "1 advertise";
  absl::Time wake_;
  absl::Status failure_;
  std::map<std::string, double> client_seconds_;
  int64_t server_bytes_ = 0;
  SecaggBenchResult result_;
};

}  // namespace

absl::StatusOr<SecaggBenchResult> RunSecaggBench(
    const SecaggBenchOptions& options) {
  if (options.dropout < 0 || options.dropout >= 1 || options.threads < 1 ||
      options.threads > 1024 || options.clients > 100'000) {
    return absl::InvalidArgumentError(
        "--dropout must be at least 0 and below 1, --threads between 1 and "
        "1024, --clients at most 100000");
  }
  if ((options.neighbors > 0) != (options.threshold > 0)) {
    return absl::InvalidArgumentError(
        "--neighbors and --threshold go together");
  }
  BenchSession session(options);
  return session.Run();
}

}  // namespace mledge
