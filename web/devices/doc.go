// Package devices is who may connect: the credentials of devices and gateways, and what
// becomes of devices without one. It is a part of the API alone.
package devices
