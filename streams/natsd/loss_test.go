package natsd_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
	"headwater/streams/natsd"
)

// TestConsumerShowsALoss takes the end of a stream away, as a power cut does, after a
// durable consumer has read it. Nothing else shows what is gone.
func TestConsumerShowsALoss(t *testing.T) {
	const stream, before, after = "READ", 10, 7
	dir := t.TempDir()
	ctx := t.Context()
	// with runs a server and calls f.
	with := func(f func(*natsd.Server, jetstream.JetStream)) {
		t.Helper()
		s, err := natsd.Start(ctx, natsd.Config{Dir: dir, Sync: natsd.SyncSecond, MQTT: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Shutdown()
		nc, err := s.Connect(natsd.UserCore)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		f(s, js)
	}
	publish := func(js jetstream.JetStream, n int) {
		t.Helper()
		for range n {
			if _, err := js.Publish(ctx, "read.x", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	with(func(s *natsd.Server, js jetstream.JetStream) {
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: stream, Subjects: []string{"read.>"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
		publish(js, before)
	})
	messages := filepath.Join(dir, "jetstream", natsd.AccountCore, "streams", stream, "msgs")
	kept := filepath.Join(t.TempDir(), "msgs")
	if err := os.CopyFS(kept, os.DirFS(messages)); err != nil {
		t.Fatal(err)
	}
	with(func(s *natsd.Server, js jetstream.JetStream) {
		publish(js, after)
		c, err := js.Consumer(ctx, stream, "reader")
		if err != nil {
			t.Fatal(err)
		}
		for range before + after {
			m, err := c.Next()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.DoubleAck(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if losses := s.TakeLosses(); len(losses) != 0 {
			t.Errorf("losses of a whole stream: %v", losses)
		}
	})
	if err := errors.Join(os.RemoveAll(messages), os.CopyFS(messages, os.DirFS(kept))); err != nil {
		t.Fatal(err)
	}
	with(func(s *natsd.Server, _ jetstream.JetStream) {
		losses := s.TakeLosses()
		if len(losses) != 1 || losses[0].Noticed.IsZero() {
			t.Fatalf("losses: %v, want one", losses)
		}
		want := streams.Loss{Stream: stream, Kept: before, Until: before + after, Noticed: losses[0].Noticed}
		if losses[0] != want {
			t.Errorf("got %+v, want %+v", losses[0], want)
		}
		if again := s.TakeLosses(); len(again) != 0 {
			t.Errorf("the losses are returned twice: %v", again)
		}
	})
}
