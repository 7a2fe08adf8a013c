// Command gateway accepts readings over HTTP. Run as many as the load needs, behind a
// load balancer that asks /readyz.
package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"headwater/services/gateway"
	"headwater/services/internal/certs"
	"headwater/services/internal/process"
)

type config struct {
	process.AdminConfig `embed:""`
	process.NATSConfig  `embed:""`
	process.HostConfig  `embed:""`
	certs.FileConfig    `embed:""`
	HTTP                string         `name:"http" help:"Address of POST /api/v1/telemetry." default:"127.0.0.1:8081"`
	Gateway             gateway.Config `embed:""`
}

func main() {
	os.Exit(process.Main("gateway", "Takes readings over HTTP and answers when they are stored.", run))
}

func run(ctx context.Context, p *process.Process, cfg config) error {
	nc, js, err := p.Connect(cfg.NATSConfig)
	if err != nil {
		return err
	}
	defer nc.Close()
	intake, err := gateway.New(cfg.Gateway, gateway.Deps{JS: js, Log: p.Log, Metrics: p.Metrics})
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
	process.WarnExposed(p.Log, process.Open{What: "readings over HTTP", Address: l.Addr().String()})
	mux := http.NewServeMux()
	for _, path := range gateway.Paths() {
		mux.Handle(path, intake.Handler())
	}
	return p.Run(ctx, admin, p.Seek(js),
		process.Part{Name: "gateway", Run: intake.Run, Ready: intake.Ready},
		process.Part{Name: "http", Run: func(ctx context.Context) error {
			return l.Serve(ctx, cfg.Guard("", mux), p.Log, grace)
		}})
}

// grace is how long requests in flight may take to finish at shutdown.
const grace = 5 * time.Second
