// Command influxd runs the InfluxDB that standalone has inside as a process of
// its own, on loopback.
package main

import (
	"context"
	"os"

	"headwater/services/internal/process"
	"headwater/services/standalone/influxd"
)

type config struct {
	Data   string `help:"Folder of the data." required:"" placeholder:"DIR" type:"path" env:"HEADWATER_DATA"`
	Listen string `help:"Loopback address on which it answers." default:"127.0.0.1:8086" env:"HEADWATER_LISTEN"`
}

func main() {
	os.Exit(process.Main("influxd", "InfluxDB "+influxd.Version+", for one machine.", run))
}

func run(ctx context.Context, p *process.Process, cfg config) error {
	server, err := influxd.Start(influxd.Config{Dir: cfg.Data, Addr: cfg.Listen, Log: p.Log})
	if err != nil {
		return err
	}
	p.Log.Info("InfluxDB answers", "url", server.URL())
	<-ctx.Done()
	return server.Close()
}
