// Package pipeline is the page that shows how the parts of Headwater do: streams,
// consumers, lanes, InfluxDB and the channels of notifications.
package pipeline
