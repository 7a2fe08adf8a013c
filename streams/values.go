package streams

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ReadBucket calls each with the last entry of every key of a bucket that one of the patterns
// covers, or of every key without patterns. Entries of deleted keys are among them unless
// jetstream.IgnoreDeletes is an option.
func ReadBucket(ctx context.Context, bucket jetstream.KeyValue, patterns []string, each func(jetstream.KeyValueEntry), options ...jetstream.WatchOpt) error {
	if len(patterns) == 0 {
		patterns = []string{jetstream.AllKeys}
	}
	watch, err := bucket.WatchFiltered(ctx, patterns, options...)
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", bucket.Bucket(), err)
	}
	defer func() { _ = watch.Stop() }() // it may have ended by itself
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("read bucket %s: %w", bucket.Bucket(), ctx.Err())
		case entry, open := <-watch.Updates():
			switch {
			case !open:
				return fmt.Errorf("read bucket %s: the watch ended", bucket.Bucket())
			case entry == nil: // these were all
				return nil
			}
			each(entry)
		}
	}
}
