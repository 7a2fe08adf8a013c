// Package dashboard is the service behind the pages of package web. It follows the
// streams and the projections, queries InfluxDB for the past, and watches how all
// parts do. What it keeps in memory can be rebuilt by reading again, so any number of
// dashboards may run; each follows the streams on its own. It changes only what people
// change: rules, silences and dead letters. Pages work while NATS or InfluxDB is
// unavailable, and show how old their data is.
//
// Each feature of the pages has its adapter in the file of its name (overview.go,
// device.go, alerts.go, rules.go, replay.go, pipeline.go, ledger.go, deadletters.go);
// shell.go is what every page shows. The other files are what the adapters share:
// state.go turns messages of the streams into facts, follow.go reads streams and
// buckets, survey.go and problems.go watch the parts.
package dashboard
