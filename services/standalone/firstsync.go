package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"
)

// firstSyncEvery is the pause between searches for new streams.
const firstSyncEvery = 250 * time.Millisecond

// firstSync forces each stream and consumer to the disk once, soon after nats-server
// has created it. It is for profiles in which nats-server forces writes only now and
// then: a stream that was created just before a power cut would be damaged. Some streams
// nats-server creates by itself, such as those of MQTT sessions when the first device
// connects. Only one goroutine may use it.
type firstSync struct {
	root  string
	log   *slog.Logger
	known map[string]bool
}

func newFirstSync(root string, log *slog.Logger) *firstSync {
	return &firstSync{root: root, log: log, known: make(map[string]bool)}
}

func (f *firstSync) run(ctx context.Context) error {
	tick := time.NewTicker(firstSyncEvery)
	defer tick.Stop()
	for {
		if err := f.sync(); err != nil {
			f.log.Warn("could not force new streams to the disk; retrying", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sync forces what is new to the disk. It ignores what is deleted meanwhile.
func (f *firstSync) sync() error {
	present := make(map[string]bool)
	var errs []error
	for _, pattern := range []string{"*/streams/*", "*/streams/*/obs/*"} {
		found, err := filepath.Glob(filepath.Join(f.root, "jetstream", pattern))
		if err != nil {
			return err
		}
		for _, folder := range found {
			present[folder] = f.known[folder]
			if present[folder] {
				continue
			}
			err := errors.Join(syncTree(folder), syncFolder(filepath.Dir(folder)))
			present[folder] = err == nil
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	f.known = present
	return errors.Join(errs...)
}
