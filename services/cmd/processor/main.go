// Command processor turns readings into window summaries and anomalies.
package main

import (
	"context"
	"os"

	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/processor"
)

type config struct {
	process.AdminConfig `embed:""`
	process.NATSConfig  `embed:""`
	Processor           processor.Config `embed:""`
	Influx              influx.Config    `embed:"" prefix:"influx-"`
}

func main() {
	os.Exit(process.Main("processor", "Turns readings into window summaries and anomalies.", run))
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
	past, err := influx.New(cfg.Influx)
	if err != nil {
		return err
	}
	defer past.Close()
	service, err := processor.New(cfg.Processor, processor.Deps{JS: js, Past: past, Log: p.Log, Metrics: p.Metrics})
	if err != nil {
		return err
	}
	return p.Run(ctx, admin, p.Seek(js), process.Part{Name: "processor", Run: service.Run, Ready: service.Ready})
}
