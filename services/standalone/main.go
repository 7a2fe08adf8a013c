// Command standalone runs all of Headwater in one process: nats-server with its
// MQTT listener, InfluxDB, every service and the dashboard.
package main

import (
	"os"

	"github.com/alecthomas/kong"

	"headwater/services/internal/process"
)

func main() {
	os.Exit(process.Main("standalone", "Runs Headwater in one process: MQTT in, dashboard, alerts and history out.", Run,
		// Without an address, InfluxDB runs inside.
		kong.Vars{"influx_url": ""}))
}
