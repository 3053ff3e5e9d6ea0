#!/usr/bin/env bash
# out_of_tree_test.sh SOURCE_FOLDER BUILD_FOLDER: installs the build into a
# scratch folder, builds examples/embedded-device against it, and trains a model
# with that program on a coordinator. Asserts that the task completes and that
# the trained model tells the two classes apart better than chance.
set -euo pipefail
source=$1 build=$2
work=$(mktemp -d)
pids=()
clean_up() {
  local status=$?
  ((${#pids[@]} == 0)) || kill "${pids[@]}" 2> /dev/null || true
  wait 2> /dev/null || true
  ((status == 0)) || tail -n 20 "$work"/*.log >&2 || true
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT

cmake --install "$build" --prefix "$work/installed" > "$work/install.log"
cmake -S "$source/examples/embedded-device" -B "$work/program" -G Ninja \
  -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/installed" > "$work/configure.log" 2>&1
cmake --build "$work/program" > "$work/build.log" 2>&1

bin=$work/installed/bin
pki=$work/pki
"$bin/mledge" pki init "$pki" > /dev/null
for party in coordinator:server operator:operator model-signer:model-signer device:sensor; do
  "$bin/mledge" pki issue "$pki" --role "${party%:*}" --id "${party#*:}" --host localhost > /dev/null 2>&1 ||
    "$bin/mledge" pki issue "$pki" --role "${party%:*}" --id "${party#*:}" > /dev/null
done

cat > "$work/coordinator.yaml" << YAML
listen: localhost:0
state_directory: $work/coordinator
trusted_operators: [operator]
trusted_model_signers: [model-signer]
identity:
  certificate: $pki/coordinator-server/certificate.pem
  private_key: $pki/coordinator-server/private_key.pem
  root: $pki/coordinator-server/root.pem
YAML
cat > "$work/task.yaml" << YAML
name: embedded
model: {built_in: {architecture: mlp, inputs: 2, outputs: 2, hidden: [8]}}
local_training: {epochs: 20, batch_size: 8, sgd: {learning_rate: 0.2}}
cohort: {size: 1, deadline: 1m}
secure_aggregation: {mode: off}
evaluation: {every: 1, where: devices, devices: 1, deadline: 30s}
stop: {rounds: 3}
YAML

"$bin/mledge-coordinator" "$work/coordinator.yaml" > "$work/coordinator.log" 2>&1 &
pids+=($!)
address=
for ((i = 0; i < 300; ++i)); do
  address=$(sed -n 's/^mledge-coordinator: listening on //p' "$work/coordinator.log")
  [[ -z $address ]] || break
  sleep 0.1
done
[[ -n $address ]]

"$work/program/embedded-device" "$address" "$pki/device-sensor" "$work/device" > "$work/device.log" 2>&1 &
device=$!
pids+=("$device")

export MLEDGE_COORDINATOR=$address MLEDGE_IDENTITY=$pki/operator-operator
"$bin/mledge" task submit "$work/task.yaml" --model-signer "$pki/model-signer-model-signer"
timeout 120 "$bin/mledge" task watch embedded | tee "$work/watch.log"
"$bin/mledge" task list

# Stops on request.
kill -TERM "$device"
wait "$device"
