package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"
)

// newbornEvery is the pause between looks for streams that nats-server has made.
const newbornEvery = 250 * time.Millisecond

// newborn forces streams and consumers to the disk once after they were made,
// where nats-server forces writes only now and then: one that was made a moment
// before a power cut would be found damaged. Nats-server makes the streams of the
// MQTT sessions itself when the first device connects. One goroutine only.
type newborn struct {
	root  string
	log   *slog.Logger
	known map[string]bool
}

func newNewborn(root string, log *slog.Logger) *newborn {
	return &newborn{root: root, log: log, known: make(map[string]bool)}
}

func (n *newborn) run(ctx context.Context) error {
	tick := time.NewTicker(newbornEvery)
	defer tick.Stop()
	for {
		if err := n.sync(); err != nil {
			n.log.Warn("new streams are not forced to the disk yet", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sync forces what is new to the disk. What goes away meanwhile does not count.
func (n *newborn) sync() error {
	present := make(map[string]bool)
	var errs []error
	for _, pattern := range []string{"*/streams/*", "*/streams/*/obs/*"} {
		found, err := filepath.Glob(filepath.Join(n.root, "jetstream", pattern))
		if err != nil {
			return err
		}
		for _, folder := range found {
			if present[folder] = n.known[folder]; present[folder] {
				continue
			}
			err := errors.Join(syncTree(folder), syncFolder(filepath.Dir(folder)))
			present[folder] = err == nil
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	n.known = present
	return errors.Join(errs...)
}
