// Package web is the dashboard as a library: pages, their live updates, and
// the same facts as JSON. It renders what its Sources tell and knows neither
// NATS nor InfluxDB. Pages and updates are made of the components of package
// view, so what a page shows first and what it shows later is one code path.
package web
