// Command functions runs the code that people deploy on the readings of the devices. Any
// number of them share the functions.
package main

import (
	"context"
	"os"

	"headwater/services/functions"
	"headwater/services/internal/process"
)

type config struct {
	process.AdminConfig `embed:""`
	process.NATSConfig  `embed:""`
}

func main() {
	os.Exit(process.Main("functions", "Runs the code that people deploy on the readings of the devices.", run))
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
	service := functions.New(functions.Deps{JS: js, Log: p.Log, Metrics: p.Metrics})
	return p.Run(ctx, admin, p.Seek(js), process.Part{Name: "functions", Run: service.Run, Ready: service.Ready})
}
