// Command writer stores readings and summaries in InfluxDB. Any number of them
// share the work.
package main

import (
	"context"
	"os"

	"headwater/services/internal/process"
	"headwater/services/writer"
)

type config struct {
	process.AdminConfig `embed:""`
	process.NATSConfig  `embed:""`
	Service             writer.Config `embed:""`
}

func main() {
	os.Exit(process.Main("writer", "Stores readings and summaries in InfluxDB.", run))
}

func run(ctx context.Context, p *process.Process, cfg config) error {
	nc, js, err := p.Connect(cfg.NATSConfig)
	if err != nil {
		return err
	}
	defer nc.Close()
	admin, err := p.Admin(cfg.AdminConfig)
	if err != nil {
		return err
	}
	service, err := writer.New(cfg.Service, writer.Deps{JS: js, Log: p.Log, Metrics: p.Metrics})
	if err != nil {
		return err
	}
	return p.Run(ctx, admin, p.Seek(js), process.Part{Name: "writer", Run: service.Run, Ready: service.Ready})
}
