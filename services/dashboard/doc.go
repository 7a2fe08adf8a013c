// Package dashboard is what stands behind the pages of package web: it follows
// the streams and the projections, asks InfluxDB for the past, and says how all
// parts do. It only reads. All that it remembers can be rebuilt by reading
// again, so any number of dashboards may run; each follows the streams for
// itself. Pages work while NATS or InfluxDB is away and say how old they are.
package dashboard
