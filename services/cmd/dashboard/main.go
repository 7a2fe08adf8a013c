// Command dashboard serves the pages and the API. Run as many as people need, behind a
// load balancer that asks /readyz. Each follows the streams by itself.
package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"time"

	"headwater/services/dashboard"
	"headwater/services/internal/process"
	"headwater/services/internal/publicurl"
)

func main() {
	os.Exit(process.Main("dashboard", "Shows devices, history, alerts and the pipeline, live.", run))
}

// run serves the dashboard until ctx ends. It does not wait for the streams: the pages
// show what is missing.
func run(ctx context.Context, p *process.Process, cfg config) error {
	deps := dashboard.Deps{Log: p.Log, Metrics: p.Metrics, Announce: dashboard.PrintLink(os.Stderr)}
	connections, err := cfg.connect(p, &deps)
	for _, nc := range connections {
		defer nc.Close()
	}
	if err != nil {
		return err
	}
	admin, err := p.Admin(cfg.AdminConfig)
	if err != nil {
		return err
	}
	l, err := cfg.Listen(p, cfg.HTTP)
	if err != nil {
		return err
	}
	cfg.Service.Address = cmp.Or(cfg.PublicURL, publicurl.Guess(l.Addr(), cfg.On()))
	if err := cfg.guard(ctx, p, l.Addr().String(), deps); err != nil {
		return errors.Join(err, l.Close())
	}
	service, err := dashboard.New(cfg.Service, deps)
	if err != nil {
		return err
	}
	pages := cfg.Guard(cfg.PublicURL, service.Handler())
	return p.Run(ctx, admin, p.Seek(deps.JS, deps.DevicesJS),
		process.Part{Name: "dashboard", Run: service.Run, Ready: service.Ready},
		process.Part{Name: "http", Run: func(ctx context.Context) error {
			return l.Serve(ctx, pages, p.Log, grace)
		}})
}

// grace is how long requests in flight may take to finish at shutdown.
const grace = 5 * time.Second
