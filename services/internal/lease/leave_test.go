package lease

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/simulation"
	"headwater/streams"
)

// blind is JetStream whose buckets have no status.
type blind struct {
	*simulation.Client
	asked func()
}

func (b *blind) KeyValue(ctx context.Context, name string) (jetstream.KeyValue, error) {
	kv, err := b.Client.KeyValue(ctx, name)
	return &blindBucket{kv, b.asked}, err
}

type blindBucket struct {
	jetstream.KeyValue
	asked func()
}

func (b *blindBucket) Status(context.Context) (jetstream.KeyValueStatus, error) {
	b.asked()
	return nil, errors.New("no answer")
}

// TestLeaveBeforeTheBucketsAnswered stops a keeper that has opened the buckets but does
// not know yet how long a lease lasts: it has no key to delete.
func TestLeaveBeforeTheBucketsAnswered(t *testing.T) {
	err := simulation.Run(t, func(t *testing.T) error {
		js := simulation.NewCluster().Connect(1, "worker", nil)
		if _, err := streams.Ensure(t.Context(), js, streams.Options{Lanes: 1}); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		keeper := New("test", []int{0}, Deps{
			JS: &blind{js, cancel}, Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry(), "test"),
		})
		return keeper.Run(ctx, func(context.Context, int) error { return errors.New("took a lane") })
	})
	if err != nil {
		t.Error(err)
	}
}
