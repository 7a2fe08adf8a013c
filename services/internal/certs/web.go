package certs

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"headwater/services/internal/process"
)

// Web is a listener for HTTP, with TLS if the files of a certificate are named.
type Web struct {
	net.Listener
	source *Source
}

// Listen opens an address for HTTP.
func (c FileConfig) Listen(p *process.Process, address string) (*Web, error) {
	w := new(Web)
	if c.On() {
		var err error
		w.source, err = FromFiles(c, Devices{}, p.Log, p.Metrics)
		if err != nil {
			return nil, err
		}
	}
	l, err := p.Listen(address)
	if err != nil {
		return nil, err
	}
	w.Listener = l
	if w.source != nil {
		w.Listener = process.Secure(l, w.source.HTTP(), w.source.Refused)
	}
	return w, nil
}

// Serve is process.Serve. With TLS it also looks for new files, and redirects browsers
// that come without TLS.
func (w *Web) Serve(ctx context.Context, handler http.Handler, log *slog.Logger, grace time.Duration) error {
	if w.source == nil {
		return process.Serve(ctx, w.Listener, handler, log, grace)
	}
	watch, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { _ = w.source.Run(watch) }) // It returns nil.
	defer watching.Wait()
	defer stop()
	return process.Serve(ctx, w.Listener, process.RedirectPlain(handler, nil), log, grace)
}
