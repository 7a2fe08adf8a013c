// Command simulator is a fleet of devices that reports over MQTT: the 20 thermometers of
// a warehouse by default, or any load:
//
//	go run ./services/cmd/simulator
//	go run ./services/cmd/simulator --no-warehouse --devices 1000 --connections 50 --rate 20000 --duration 1m
//
// On a terminal it prints its progress once a second, and a summary at the end.
package main

import (
	"context"
	"os"

	"golang.org/x/term"

	"headwater/services/internal/process"
	"headwater/services/simulator"
)

const description = "A fleet of devices that reports over MQTT: the thermometers of a warehouse, or load."

func main() { os.Exit(process.Main("simulator", description, run)) }

// run runs the fleet until it is done or ctx ends.
func run(ctx context.Context, p *process.Process, cfg simulator.Config) error {
	deps := simulator.Deps{Log: p.Log, Metrics: p.Metrics, Summary: os.Stdout}
	if term.IsTerminal(int(os.Stdout.Fd())) {
		deps.Progress = os.Stdout
	}
	s, err := simulator.New(cfg, deps)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
