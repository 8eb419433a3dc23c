/* The floor: nengo's LIF over a whole sequence, one thread, one plain loop.
 *
 * The step is the one without transcendental functions. It carries
 * q = exp(refractory_time / tau_rc) in place of the refractory time, with
 * d = exp(-dt / tau_rc) and K = exp((tau_ref + dt) / tau_rc):
 *
 *   q = max(q d, 1);  e = min(q d, 1);  v = J + (v - J) e
 *   v > 1:   spike,  q = K (J - v) / (J - 1),  v = 0
 *   else:    v = max(v, min_voltage)
 *
 * currents and spikes are (batch, time, units); v and q are (batch, units) and
 * carried by the caller. -DREAL=double builds the exact version.
 */
#include <math.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

void lif(const real *restrict currents, real *restrict spikes,
         real *restrict voltage, real *restrict refractory,
         long batch, long time, long units,
         double dt, double tau_rc, double tau_ref, double min_voltage,
         double amplitude)
{
    const real d = exp(-dt / tau_rc);
    const real K = exp((tau_ref + dt) / tau_rc);
    const real height = amplitude / dt;
    const real floor_voltage = min_voltage;
    const real one = 1;

    for (long t = 0; t < time; t++) {
        for (long b = 0; b < batch; b++) {
            const real *restrict J_row = currents + (b * time + t) * units;
            real *restrict spike_row = spikes + (b * time + t) * units;
            real *restrict v_row = voltage + b * units;
            real *restrict q_row = refractory + b * units;

            for (long u = 0; u < units; u++) {
                const real J = J_row[u];
                real q = q_row[u] * d;
                q = q > one ? q : one;
                const real qd = q * d;
                const real e = qd < one ? qd : one;
                const real v = J + (v_row[u] - J) * e;
                const real q_after = K * (J - v) / (J - one);
                const real v_rest = v > floor_voltage ? v : floor_voltage;

                spike_row[u] = v > one ? height : 0;
                q_row[u] = v > one ? q_after : q;
                v_row[u] = v > one ? 0 : v_rest;
            }
        }
    }
}
