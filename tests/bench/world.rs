//! Makes the simulated world of a generated project what its configuration says: carries out the plan
//! in memory, where `stagecraft apply` would save the world after each of its steps.
//!
//! Runs in the project's folder.

use std::error::Error;
use std::path::Path;

use stagecraft::config::compose::{Disk, Variable, dotenv};
use stagecraft::engine::{CONFIG_FILE, Engine, Workspace, compose_reader};
use stagecraft::model::Request;
use stagecraft::world::secrets::Secrets;
use stagecraft::world::simulated::SimulatedState;

const ENVIRONMENT: &str = "bench";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let workspace = Workspace::open(Path::new(CONFIG_FILE)).map_err(|_| "no valid project here")?;
    let engine = Engine::open(std::sync::Arc::new(workspace), ENVIRONMENT)
        .map_err(|_| "it can't be opened")?;
    let planned = engine.plan(&Request::default()).await.map_err(|_| "it can't be planned")?;

    let bytes =
        stagecraft::config::compose::Files::read(&Disk::default(), Path::new("secrets.env"))?;
    let unset = |_: &str| Variable::Unset;
    let parsed = dotenv::parse("secrets.env", &bytes, &unset, dotenv::Style::Full)
        .map_err(|_| "secrets.env can't be read")?;
    let secrets = Secrets::new(parsed.variables);

    let read = compose_reader();
    let mut world = SimulatedState::default();
    for step in &planned.plan.steps {
        world
            .perform(&planned.desired.site, &step.effect, Some(&secrets), &read)
            .map_err(|failure| format!("{}: {}", step.address, failure.what))?;
    }
    let folder = Path::new(".stagecraft/state").join(ENVIRONMENT);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("world.json"), serde_json::to_vec(&world)?)?;
    println!("{} resources", planned.desired.resources.len());
    Ok(())
}
