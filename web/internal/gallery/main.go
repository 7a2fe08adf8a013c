// Command gallery serves the dashboard from fixtures, each state of the world
// on a port of its own, to look at the pages without anything behind them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"time"

	"headwater/web"
	"headwater/web/internal/fixture"
)

func main() {
	port := flag.Int("port", 8090, "port of the first state; the others follow")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, *port); err != nil {
		fmt.Fprintln(os.Stderr, "gallery:", err)
		os.Exit(1)
	}
}

// serve serves all states until the context ends or one cannot be served.
func serve(ctx context.Context, port int) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	failed := make(chan error, len(fixture.States))
	for i, state := range fixture.States {
		s, err := web.New(web.Config{}, fixture.New(state, time.Time{}).Sources(), log)
		if err != nil {
			return err
		}
		go s.Run(ctx)
		server := &http.Server{
			Addr:    net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i)),
			Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second,
		}
		fmt.Printf("%-10s http://%s/\n", state, server.Addr)
		go func() { failed <- server.ListenAndServe() }()
		defer server.Close()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	}
}
