"""Chemistry of seawater: equilibrium constants, the carbonate system and air-sea gas exchange."""
