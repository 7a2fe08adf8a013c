// Package web is the dashboard as a library: pages, their live updates, and the
// same facts as JSON. It shows what its sources return and knows neither NATS nor
// InfluxDB. Each feature has a folder with its routes, handlers, data, components
// and golden files; this package puts the features together.
package web
