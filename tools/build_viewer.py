"""Build the report's 3D library: three.js with only what the report uses, as one plain script.

    python tools/build_viewer.py --cache DIR

Fetches npm `three` (MIT) and `esbuild` (MIT, a tool that does not ship) into the cache and writes
`three.min.js`, a script that defines the global `THREE`, and its licence text. The report's own
code, `src/idhand/view/report/report.js`, is shipped as it is written. Needs node and npm.
"""

import argparse
import hashlib
import subprocess
from pathlib import Path

THREE, ESBUILD = "three@0.187.0", "esbuild@0.28.2"
DATA = Path(__file__).parents[1] / "src" / "idhand" / "assets" / "data"
ENTRY = """
export {
  BufferAttribute, BufferGeometry, CylinderGeometry, DirectionalLight, DoubleSide,
  Group, HemisphereLight, LineBasicMaterial, LineSegments, Mesh, MeshBasicMaterial,
  MeshStandardMaterial, PerspectiveCamera, SRGBColorSpace, Scene, SphereGeometry,
  Texture, Vector3, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
"""
"""Every name of three.js that report.js uses."""


def main() -> None:
    """Fetch, bundle, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder for the npm packages")
    cache = parser.parse_args().cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "package.json").write_text('{"private": true}\n')
    subprocess.run(["npm", "install", "--silent", THREE, ESBUILD], cwd=cache, check=True)
    (cache / "entry.js").write_text(ENTRY)
    target = DATA / "three.min.js"
    subprocess.run(
        [
            str(cache / "node_modules" / ".bin" / "esbuild"),
            *("entry.js", "--bundle", "--minify", "--format=iife", "--global-name=THREE"),
            *("--target=es2020", "--legal-comments=inline", f"--outfile={target}"),
        ],
        cwd=cache,
        check=True,
    )
    licence = (cache / "node_modules" / "three" / "LICENSE").read_bytes()
    (DATA / "THREE_LICENSE.txt").write_bytes(licence)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    print(f"{target.name}: {target.stat().st_size} bytes, sha256 {digest}")


if __name__ == "__main__":
    main()
