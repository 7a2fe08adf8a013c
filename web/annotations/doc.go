// Package annotations has what people write about moments and periods of devices and sites: the
// list, and the same in the API, which the charts write to as well.
package annotations
