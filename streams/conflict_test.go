package streams_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// Nats-server answers with other codes when a stream has several replicas.
func TestIsConflict(t *testing.T) {
	t.Run("one replica", func(t *testing.T) {
		server := streamtest.Run(t)
		server.Ensure(t, 1)
		conflicts(t, server.JS(t))
	})
	t.Run("three replicas", func(t *testing.T) {
		cluster := streamtest.RunCluster(t, natsd.SyncAlways)
		cluster.Ensure(t)
		conflicts(t, cluster.JS(t, natsd.UserCore))
	})
	// What a replicated stream answers while another write is in flight.
	if !streams.IsConflict(&jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamWrongLastSequenceConstant}) {
		t.Error("the code of replicated streams does not count as a conflict")
	}
	for _, err := range []error{nil, errors.New("else"), jetstream.ErrKeyNotFound, &jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamNotFound}} {
		if streams.IsConflict(err) {
			t.Errorf("%v counts as a conflict", err)
		}
	}
}

func conflicts(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), streams.BucketConfig)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := kv.Create(t.Context(), "conflict", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(t.Context(), "conflict", []byte("2")); !streams.IsConflict(err) {
		t.Errorf("Create of a key that exists: %v", err)
	}
	if _, err := kv.Update(t.Context(), "conflict", []byte("2"), revision+7); !streams.IsConflict(err) {
		t.Errorf("Update of another revision: %v", err)
	}
	if err := kv.Delete(t.Context(), "conflict", jetstream.LastRevision(revision+7)); !streams.IsConflict(err) {
		t.Errorf("Delete of another revision: %v", err)
	}
	msg, err := streams.DerivedMsg(0, &derivedv1.Commit{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), msg, jetstream.WithExpectLastSequencePerSubject(7)); !streams.IsConflict(err) {
		t.Errorf("a message after another sequence: %v", err)
	}
}

// future is a message that was published.
type future struct {
	ok  chan *jetstream.PubAck
	err chan error
}

func newFuture() future { return future{make(chan *jetstream.PubAck, 1), make(chan error, 1)} }

func (f future) Ok() <-chan *jetstream.PubAck { return f.ok }
func (f future) Err() <-chan error            { return f.err }
func (f future) Msg() *nats.Msg               { return nats.NewMsg("readings") }

func TestStored(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	full := &jetstream.APIError{ErrorCode: 10077}
	// Each is repeated, because select chooses at random.
	for range 100 {
		stored, refused := newFuture(), newFuture()
		stored.ok <- &jetstream.PubAck{Sequence: 7}
		refused.err <- full
		if ack, err := streams.Stored(ended, stored); err != nil || ack.Sequence != 7 {
			t.Fatalf("what is stored: %v, %v", ack, err)
		}
		if _, err := streams.Stored(ended, refused); !streams.IsFull(err) || errors.Is(err, streams.ErrNoAnswer) {
			t.Fatalf("what is refused: %v", err)
		}
		if _, err := streams.Stored(ended, newFuture()); !errors.Is(err, streams.ErrNoAnswer) || streams.IsFull(err) {
			t.Fatalf("what is not answered: %v", err)
		}
	}
}
