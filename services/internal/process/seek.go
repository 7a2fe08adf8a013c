package process

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// seekTimes are the times after which a connection leaves its server.
type seekTimes struct {
	// every is the pause between two requests, and answer bounds each of them.
	every, answer time.Duration
	// patience is how long JetStream may fail to answer. A cluster that elects
	// needs up to 6 s.
	patience time.Duration
}

var usualSeek = seekTimes{every: 2 * time.Second, answer: 2 * time.Second, patience: 8 * time.Second}

// Seek returns a part that moves a connection to another server of the cluster when its
// server is reachable, but the server's JetStream has not answered for a while: a server
// that is cut off from the two others keeps its connections, but cannot serve them.
// With only one known server it does nothing. Nil connections are skipped.
func (p *Process) Seek(connections ...jetstream.JetStream) Part {
	return Part{Name: "servers", Run: func(ctx context.Context) error {
		var running sync.WaitGroup
		for _, js := range connections {
			if js == nil {
				continue
			}
			running.Go(func() { seek(ctx, js, p.Log, usualSeek) })
		}
		running.Wait()
		return nil
	}}
}

func seek(ctx context.Context, js jetstream.JetStream, log *slog.Logger, times seekTimes) {
	tick := time.NewTicker(times.every)
	defer tick.Stop()
	nc := js.Conn()
	answered, server := time.Now(), ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// The patience starts again with a new server, and with one that is alone.
		if now := nc.ConnectedUrlRedacted(); now != server || now == "" || len(nc.Servers()) < 2 {
			answered, server = time.Now(), now
			continue
		}
		asked, cancel := context.WithTimeout(ctx, times.answer)
		_, err := js.AccountInfo(asked)
		cancel()
		if err == nil {
			answered = time.Now()
			continue
		}
		if silent := time.Since(answered); ctx.Err() == nil && silent >= times.patience {
			log.Warn("the JetStream of this server does not answer; looking for another server", "server", server, "silent", silent.Round(time.Second), "err", err)
			answered = time.Now()
			if err := nc.ForceReconnect(); err != nil {
				log.Warn("could not look for another server", "err", err)
			}
		}
	}
}
