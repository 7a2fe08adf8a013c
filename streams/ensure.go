package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Topology is what services need to know of the streams as they are.
type Topology struct {
	// Lanes is N.
	Lanes int
	// Telemetry, Derived and Alerting are the incarnations of these streams, the times at
	// which they were created.
	Telemetry, Derived, Alerting time.Time
}

// Ensure creates every missing stream, bucket and durable consumer of the services'
// account, updates the limits of the others, and returns what is there. It may be called
// any number of times, by several processes at once. ErrLanes means that the streams were
// created with another number of lanes than o has, ErrCopies that they have more copies.
func Ensure(ctx context.Context, js jetstream.JetStream, o Options) (Topology, error) {
	o = o.withDefaults()
	existing, err := recordedLanes(ctx, js, o.Durability)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if o.Lanes == 0 {
			o.Lanes = o.Durability.lanes()
		}
	case err != nil:
		return Topology{}, err
	case o.Lanes == 0 || o.Lanes == existing:
		o.Lanes = existing
	default:
		return Topology{}, fmt.Errorf("%w: %d asked for, the streams were made with %d", ErrLanes, o.Lanes, existing)
	}
	if o.Lanes < 1 || o.Lanes > maxLanes {
		return Topology{}, fmt.Errorf("%w: %d is not within 1 and %d", ErrLanes, o.Lanes, maxLanes)
	}
	for _, cfg := range append(streamConfigs(o), auditConfig(o)) {
		if _, err := js.CreateOrUpdateStream(ctx, cfg); err != nil {
			return Topology{}, fmt.Errorf("make stream %s: %w", cfg.Name, err)
		}
	}
	for _, cfg := range bucketConfigs(o) {
		if _, err := js.CreateOrUpdateKeyValue(ctx, cfg); err != nil {
			return Topology{}, fmt.Errorf("make bucket %s: %w", cfg.Bucket, err)
		}
	}
	for _, cfg := range []jetstream.ObjectStoreConfig{snapshotsConfig(o), functionsConfig(o), plansConfig(o)} {
		if _, err := js.CreateOrUpdateObjectStore(ctx, cfg); err != nil {
			return Topology{}, fmt.Errorf("make object store %s: %w", cfg.Bucket, err)
		}
	}
	for stream, durables := range writerConsumers(o.Lanes) {
		for _, cfg := range durables {
			if _, err := js.CreateOrUpdateConsumer(ctx, stream, cfg); err != nil {
				return Topology{}, fmt.Errorf("make consumer %s of %s: %w", cfg.Durable, stream, err)
			}
		}
	}
	return Check(ctx, js)
}

// EnsureLeases creates the buckets of leases and workers if they are missing, with as many
// replicas as TELEMETRY has. They are kept in memory, so a single nats-server loses them
// when it restarts, while the workers keep running.
func EnsureLeases(ctx context.Context, js jetstream.JetStream) error {
	stream, err := js.Stream(ctx, StreamTelemetry)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", StreamTelemetry, err)
	}
	for _, cfg := range leaseConfigs(stream.CachedInfo().Config.Replicas) {
		if _, err := js.CreateKeyValue(ctx, cfg); err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return fmt.Errorf("make bucket %s: %w", cfg.Bucket, err)
		}
	}
	return nil
}

// EnsureDevices creates the streams of nats-server's MQTT in the account of the devices,
// with our own limits and subjects. It must be called before a device may connect:
// nats-server would create them with subjects for everything that is published. ErrCopies
// means that there are more copies than o has.
func EnsureDevices(ctx context.Context, js jetstream.JetStream, o DeviceOptions) error {
	for _, cfg := range deviceConfigs(o) {
		existing, err := js.Stream(ctx, cfg.Name)
		if err == nil {
			err = checkCopies(existing, o.Durability)
		}
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("look up stream %s: %w", cfg.Name, err)
		}
		if _, err := js.CreateOrUpdateStream(ctx, cfg); err != nil {
			return fmt.Errorf("make stream %s: %w", cfg.Name, err)
		}
	}
	return nil
}

// Check returns what is there, or ErrNotReady with the name of the first part that is
// missing. AUDIT and the functions may be missing: the other services work without them.
func Check(ctx context.Context, js jetstream.JetStream) (Topology, error) {
	var t Topology
	created := map[string]*time.Time{StreamTelemetry: &t.Telemetry, StreamDerived: &t.Derived, StreamAlerting: &t.Alerting}
	for _, cfg := range streamConfigs(Options{}) {
		stream, err := js.Stream(ctx, cfg.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return Topology{}, fmt.Errorf("%w: stream %s is missing", ErrNotReady, cfg.Name)
		}
		if err != nil {
			return Topology{}, fmt.Errorf("look up stream %s: %w", cfg.Name, err)
		}
		info := stream.CachedInfo()
		lanes, err := parseLanes(info)
		if err != nil {
			return Topology{}, err
		}
		if t.Lanes != 0 && t.Lanes != lanes {
			return Topology{}, fmt.Errorf("%w: %s has %d, the others have %d", ErrLanes, cfg.Name, lanes, t.Lanes)
		}
		t.Lanes = lanes
		if at := created[cfg.Name]; at != nil {
			*at = info.Created
		}
	}
	for _, cfg := range bucketConfigs(Options{}) {
		if cfg.Bucket == BucketFunctions {
			continue
		}
		if _, err := js.KeyValue(ctx, cfg.Bucket); errors.Is(err, jetstream.ErrBucketNotFound) {
			return Topology{}, fmt.Errorf("%w: bucket %s is missing", ErrNotReady, cfg.Bucket)
		} else if err != nil {
			return Topology{}, fmt.Errorf("look up bucket %s: %w", cfg.Bucket, err)
		}
	}
	return t, nil
}

// recordedLanes returns the number of lanes that the streams were created with.
func recordedLanes(ctx context.Context, js jetstream.JetStream, d Durability) (int, error) {
	stream, err := js.Stream(ctx, StreamTelemetry)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", StreamTelemetry, err)
	}
	if err := checkCopies(stream, d); err != nil {
		return 0, err
	}
	return parseLanes(stream.CachedInfo())
}

// checkCopies returns ErrCopies when d has fewer copies than the stream.
func checkCopies(stream jetstream.Stream, d Durability) error {
	cfg := stream.CachedInfo().Config
	if cfg.Replicas <= d.Replicas() {
		return nil
	}
	return fmt.Errorf("%w: stream %s has %d, %q asks for %d", ErrCopies, cfg.Name, cfg.Replicas, d, d.Replicas())
}

func parseLanes(info *jetstream.StreamInfo) (int, error) {
	text := info.Config.Metadata[lanesMetadata]
	lanes, err := strconv.Atoi(text)
	if err != nil || lanes < 1 || lanes > maxLanes {
		return 0, fmt.Errorf("%w: stream %s says %q in its metadata; it was not made by Headwater", ErrLanes, info.Config.Name, text)
	}
	return lanes, nil
}
