package process

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// TestConnectionLeavesAServerWithoutJetStream connects to a server that serves,
// but has no JetStream, as one that is cut off from the others of its cluster.
func TestConnectionLeavesAServerWithoutJetStream(t *testing.T) {
	cut, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	cut.Start()
	defer cut.Shutdown()
	whole := streamtest.Run(t)
	nc, err := nats.Connect(cut.ClientURL()+","+whole.NATS(natsd.UserCore), append(NATSOptions("test", slog.New(slog.DiscardHandler)), nats.DontRandomize())...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := JetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		seek(ctx, js, slog.New(slog.DiscardHandler), seekTimes{every: 10 * time.Millisecond, answer: 5 * time.Second, patience: 50 * time.Millisecond})
	}()
	defer func() { cancel(); <-ended }()
	streamtest.Eventually(t, "JetStream answers", func() bool {
		_, err := js.AccountInfo(t.Context())
		return err == nil
	})
	if got := nc.ConnectedUrl(); got == cut.ClientURL() {
		t.Errorf("it is still connected to %s", got)
	}
}
