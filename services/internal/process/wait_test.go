package process

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"headwater/streams"
	"headwater/streams/streamtest"
)

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if !Sleep(ctx, 2*time.Second) || time.Since(begin) != 2*time.Second {
			t.Errorf("it ended after %v", time.Since(begin))
		}
		if Sleep(ctx, time.Hour) || time.Since(begin) != 3*time.Second {
			t.Errorf("it did not end with the context, but after %v", time.Since(begin))
		}
		if Sleep(ctx, 0) {
			t.Error("the context does not run any more")
		}
	})
}

func TestHardStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		hard, cancel := HardStop(ctx, 5*time.Second)
		defer cancel()
		<-hard.Done()
		if took := time.Since(begin); took != time.Minute+5*time.Second {
			t.Errorf("it ended after %v", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		hard, cancel := HardStop(ctx, time.Hour)
		stop()
		synctest.Wait()
		if hard.Err() != nil {
			t.Error("it ended with the context")
		}
		// Neither a goroutine nor a timer may be left, or the bubble would not end.
		cancel()
		if hard.Err() == nil {
			t.Error("it was cancelled, and runs")
		}
	})
}

func TestAwaitStreams(t *testing.T) {
	server := streamtest.Run(t)
	other := errors.New("the devices' account is missing")
	var reasons []error
	waiting := func(err error) {
		if len(reasons) == 0 {
			server.Ensure(t, 3)
		}
		reasons = append(reasons, err)
	}
	checked := false
	check := func(context.Context) error {
		if checked {
			return nil
		}
		checked = true
		return other
	}
	topology, err := AwaitStreams(t.Context(), server.JS(t), slog.New(slog.DiscardHandler), waiting, check)
	if err != nil || topology.Lanes != 3 {
		t.Fatalf("%+v, %v", topology, err)
	}
	if len(reasons) != 2 || !errors.Is(reasons[0], streams.ErrNotReady) || !errors.Is(reasons[1], other) {
		t.Errorf("it waited for %v", reasons)
	}
}

func TestAwaitStreamsEndsWithTheContext(t *testing.T) {
	server := streamtest.Run(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := AwaitStreams(ctx, server.JS(t), slog.New(slog.DiscardHandler), func(error) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it returned %v", err)
	}
}
